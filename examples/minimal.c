/* SPDX-License-Identifier: MIT */
/*
 * A complete embedder: a postfix calculator with lists, whose values are
 * garbage-collected. Its arguments are the program: minimal 1000 iota sum
 */
#include <ferry/ferry.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct value {
	enum { NUMBER, PAIR } tag; /* zero, as allocated: fit to be traced */
	long number;
	struct value *slot[2]; /* the first, and the rest of a list */
};

struct machine {
	struct ferry_mutator *m;
	void *stack[64];
	size_t n;
};

/* What the collector asks: how big is this, and where are its references? */
static size_t trace(void *object, struct ferry_visitor *v)
{
	struct value *value = object;

	if (v && value->tag == PAIR)
		ferry_visit_range(v, value->slot, 2);
	return sizeof(*value);
}

/* And where do references begin? */
static void roots(void *arg, struct ferry_visitor *v)
{
	struct machine *vm = arg;

	ferry_visit_range(v, vm->stack, vm->n);
}

static void push(struct machine *vm, void *value)
{
	if (vm->n == 64)
		errx(1, "stack overflow");
	vm->stack[vm->n++] = value;
}

static struct value *pop(struct machine *vm)
{
	if (!vm->n)
		errx(1, "stack underflow");
	return vm->stack[--vm->n];
}

static long number(const struct value *value)
{
	if (!value || value->tag != NUMBER)
		errx(1, "not a number");
	return value->number;
}

/*
 * An allocation may collect. What a C variable refers to may then be gone, or
 * somewhere else; what is on the machine's stack is kept, and put right.
 */
static struct value *push_new(struct machine *vm, int tag, long number)
{
	struct value *value;

	value = ferry_alloc(vm->m, sizeof(*value), FERRY_KIND_TRACED);
	if (!value)
		errx(1, "out of memory");
	value->tag = tag;
	value->number = number;
	push(vm, value);
	return value;
}

static void cons(struct machine *vm) /* list first -- list */
{
	struct value *pair = push_new(vm, PAIR, 0);

	pop(vm);
	pair->slot[0] = pop(vm);
	pair->slot[1] = pop(vm);
	push(vm, pair);
}

static void iota(struct machine *vm) /* n -- list of 1 ... n */
{
	long i = number(pop(vm));

	for (push(vm, NULL); i > 0; i--) {
		push_new(vm, NUMBER, i);
		cons(vm);
	}
}

static void sum(struct machine *vm) /* list -- number */
{
	struct value *list = pop(vm);
	long n = 0;

	for (; list; list = list->slot[1])
		n += number(list->slot[0]);
	push_new(vm, NUMBER, n);
}

static void run(struct machine *vm, const char **words)
{
	for (; *words; words++) {
		if (!strcmp(*words, "cons"))
			cons(vm);
		else if (!strcmp(*words, "iota"))
			iota(vm);
		else if (!strcmp(*words, "sum"))
			sum(vm);
		else
			push_new(vm, NUMBER, strtol(*words, NULL, 10));
	}
}

int main(int argc, const char **argv)
{
	const char *sample[] = { "1000", "iota", "sum", NULL };
	struct ferry_heap_params params = { .size = sizeof(params) };
	struct ferry_mutator_params mine = { .size = sizeof(mine) };
	struct machine vm = { .n = 0 };
	struct ferry_heap *heap;
	long i, result = 0;

	params.trace = trace;
	mine.roots = roots;
	mine.roots_arg = &vm;
	if (ferry_heap_create(&params, NULL, &heap) < 0 ||
	    ferry_mutator_attach(heap, &mine, &vm.m) < 0)
		errx(1, "no heap");
	/* Once would not make enough garbage to be worth a collection. */
	for (i = 0; i < 1000; i++) {
		run(&vm, argc > 1 ? argv + 1 : sample);
		result = number(pop(&vm));
	}
	printf("%ld\n", result);
	ferry_mutator_detach(vm.m);
	ferry_heap_destroy(heap);
	return argc == 1 && result != 500500;
}
