/* SPDX-License-Identifier: MIT */
/*
 * A Lua state whose objects live in an allocator instance: what the script
 * does not touch goes out of memory, and the end of the state is the end of
 * the instance.
 *
 * The argument is the policy.
 */
#include <ferry/alloc.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

/* Lua's allocator: all in one. It relies on blocks that can be made smaller. */
static void *lua_block(void *arg, void *ptr, size_t old_size, size_t size)
{
	void *p;

	if (!size) {
		ferry_allocator_free(arg, ptr);
		return NULL;
	}
	p = ferry_allocator_realloc(arg, ptr, size);
	return p || !ptr || size > old_size ? p : ptr;
}

static const char build[] = "words = {} "
			    "for i = 1, 100000 do "
			    "  words[i] = 'word ' .. i .. ('.'):rep(i % 100) "
			    "end";

static const char check[] =
	"local wrong = 0 "
	"for i = 1, 100000 do "
	"  if words[i] ~= 'word ' .. i .. ('.'):rep(i % 100) then "
	"    wrong = wrong + 1 "
	"  end "
	"end "
	"assert(wrong == 0)";

static int run(lua_State *lua, const char *script)
{
	if (!luaL_dostring(lua, script))
		return 0;
	fprintf(stderr, "lua: %s\n", lua_tostring(lua, -1));
	return -1;
}

static void report(struct ferry_allocator *a)
{
	struct ferry_allocator_stats s =
		FERRY_INIT(struct ferry_allocator_stats);

	ferry_allocator_stats(a, &s);
	printf("of %lu KiB, %lu KiB are out in %lu KiB\n",
	       (unsigned long)s.allocated >> 10, (unsigned long)s.stored >> 10,
	       (unsigned long)s.store_memory >> 10);
}

int main(int argc, char **argv)
{
	struct ferry_allocator_params params =
		FERRY_INIT(struct ferry_allocator_params);
	struct ferry_allocator *a;
	lua_State *lua;
	int r;

	params.conf = argc > 1 ? argv[1] : "min_heap:0,rate:0,refault_limit:0";
	params.name = "lua";
	if (ferry_allocator_create(&params, &a))
		return 1;
	lua = lua_newstate(lua_block, a);
	if (!lua)
		return 1;
	luaL_openlibs(lua);
	r = run(lua, build);
	report(a);
	ferry_allocator_trim(a);
	report(a);
	r |= run(lua, check);
	report(a);
	/* Without lua_close(): no object has anything else to give back. */
	ferry_allocator_destroy(a);
	return r ? 1 : 0;
}
