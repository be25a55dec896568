/* SPDX-License-Identifier: MIT */
/* Forms of ferry-bench's output: JSON, tables, plots, the report. */
#include <stdlib.h>
#include <string.h>

#include "bench/output.h"
#include "bench/report.h"
#include "tests/harness.h"

static const struct bench_cmd cmd = { .name = "move" };

static struct bench bench;

static void set_up(void)
{
	bench = (struct bench){ .cmd = &cmd, .results = json_array() };
	bench.opt.seed = 9;
	bench_machine_get(&bench.machine);
}

static void tear_down(void)
{
	json_decref(bench.results);
	bench_doc_fini(&bench.doc);
}

static const struct bench_stat stat = { 3, 61.5, 58, 70 };

static json_t *only_result(void)
{
	ck_assert_uint_eq(json_array_size(bench.results), 1);
	return json_array_get(bench.results, 0);
}

static double number(json_t *object, const char *key)
{
	json_t *v = json_object_get(object, key);

	ck_assert_msg(json_is_number(v), "no number '%s'", key);
	return json_number_value(v);
}

static const char *string(json_t *object, const char *key)
{
	json_t *v = json_object_get(object, key);

	ck_assert_msg(json_is_string(v), "no string '%s'", key);
	return json_string_value(v);
}

START_TEST(result_has_name_unit_value_and_spread)
{
	json_t *r = bench_result(&bench, &stat, "ns/page",
				 "move/4k/batch=%d/method=%s", 512, "ferry");

	ck_assert_ptr_eq(r, only_result());
	ck_assert_str_eq(string(r, "name"), "move/4k/batch=512/method=ferry");
	ck_assert_str_eq(string(r, "unit"), "ns/page");
	ck_assert_double_eq(number(r, "value"), 61.5);
	ck_assert_double_eq(number(r, "min"), 58);
	ck_assert_double_eq(number(r, "max"), 70);
	bench_field(r, "p99", 99.5);
	ck_assert_double_eq(number(r, "p99"), 99.5);
}
END_TEST

START_TEST(what_was_not_measured_leaves_no_result)
{
	struct bench_stat none = { 0 };
	json_t *r = bench_result(&bench, &none, "ns", "x");

	ck_assert_ptr_null(r);
	bench_field(r, "p99", 1);
	ck_assert_uint_eq(json_array_size(bench.results), 0);
}
END_TEST

START_TEST(document_has_machine_results_and_targets)
{
	struct bench_target t = { .name = (char *)"move/ratio/x",
				  .text = (char *)"a < b",
				  .sense = BENCH_AT_LEAST,
				  .limit = 3,
				  .unit = "x",
				  .got = bench_stat_of(4) };
	json_t *doc, *target;

	bench_target(&bench, &t);
	ck_assert_str_eq(string(only_result(), "unit"), "ratio");
	doc = bench_json(&bench);
	ck_assert_ptr_nonnull(doc);
	ck_assert_str_eq(string(doc, "command"), "move");
	ck_assert_double_eq(number(doc, "seed"), 9);
	string(json_object_get(doc, "machine"), "kernel");
	string(json_object_get(doc, "machine"), "date");
	ck_assert(number(json_object_get(doc, "machine"), "cores") >= 1);
	target = json_array_get(json_object_get(doc, "targets"), 0);
	ck_assert_str_eq(string(target, "verdict"), "reached");
	json_decref(doc);
}
END_TEST

static char *print_table(const struct bench_table *t)
{
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	bench_table_print(t, f);
	fclose(f);
	return text;
}

START_TEST(table_columns_are_aligned)
{
	struct bench_table *t =
		bench_table_new("Caption", "name", "ns", "<why", NULL);
	char *text;

	bench_cell(t, "a");
	bench_cell(t, "%d", 5);
	bench_cell(t, "because");
	bench_cell(t, "b\xc3\xa9"
		      "c");
	bench_cell(t, "12345");
	bench_cell(t, "%s", "");
	text = print_table(t);
	ck_assert_str_eq(text, "Caption\n"
			       "  name     ns  why\n"
			       "  --------------------\n"
			       "  a         5  because\n"
			       "  b\xc3\xa9"
			       "c   12345\n\n");
	free(text);
	bench_table_free(t);
}
END_TEST

START_TEST(numbers_keep_three_digits)
{
	const struct {
		double v;
		const char *text;
	} cases[] = {
		{ 61.24, "61.2" }, { 1.0, "1.00" },  { 20480, "20480" },
		{ 9.999, "10.0" }, { 0.25, "0.25" }, { 0.0414, "0.0414" },
		{ 99.96, "100" },  { 0, "0" },
	};
	char buf[32];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bench_format(cases[i].v, buf, sizeof(buf));
		ck_assert_str_eq(buf, cases[i].text);
	}
}
END_TEST

static struct bench_plot *new_plot(void)
{
	struct bench_plot *p =
		bench_plot_new("p", BENCH_LINES, "Say \"why\"", "x", "y");

	bench_plot_series(p, "ferry", 0);
	bench_plot_point(p, 1, &stat);
	bench_plot_series(p, "empty", 1);
	return p;
}

START_TEST(plot_script_quotes_and_leaves_out_empty_series)
{
	struct bench_plot *p = new_plot();
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	bench_plot_script(p, "/tmp/x.svg", true, f);
	fclose(f);
	ck_assert_ptr_nonnull(strstr(text, "\"Say \\\"why\\\"\""));
	ck_assert_ptr_nonnull(strstr(text, "$s0 using"));
	ck_assert_ptr_null(strstr(text, "$s1 using"));
	free(text);
	bench_plot_free(p);
}
END_TEST

START_TEST(axis_reaches_what_was_asked_for)
{
	struct bench_plot *p = new_plot();
	char *text, *range;
	double low, high;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	p->log_y = false;
	p->y_top = 1000;
	bench_plot_script(p, "/tmp/x.svg", true, f);
	fclose(f);
	range = strstr(text, "set yrange [");
	ck_assert_ptr_nonnull(range);
	ck_assert_int_eq(sscanf(range, "set yrange [%lf:%lf]", &low, &high), 2);
	ck_assert(low <= 0 && high >= 1000 && high < 1200);
	free(text);
	bench_plot_free(p);
}
END_TEST

START_TEST(plot_without_points_is_not_drawn)
{
	struct bench_plot *p = bench_plot_new("p", BENCH_DOTS, "t", "x", "");

	bench_plot_series(p, "none", 0);
	ck_assert_int_lt(bench_plot_draw(p, false), 0);
	ck_assert_ptr_null(p->svg);
	bench_plot_free(p);
}
END_TEST

static char *print_report(void)
{
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	bench_report_print(&bench, f);
	fclose(f);
	return text;
}

START_TEST(report_refers_to_nothing_outside)
{
	static const char *const outside[] = { "http:",	  "https:", "src=",
					       "@import", "<link",  "<script" };
	struct bench_table *t = bench_table_new("Table & all", "a", NULL);
	struct bench_plot *p = new_plot();
	char *text;

	bench_cell(t, "<b>");
	bench_section(&bench, "Moving");
	bench_say(&bench, "1 < 2");
	bench_show(&bench, t);
	p->svg = strdup("<svg id='p-1'/>");
	bench_plot(&bench, p);
	text = print_report();
	for (size_t i = 0; i < ARRAY_SIZE(outside); i++)
		ck_assert_msg(!strstr(text, outside[i]), "%s", outside[i]);
	ck_assert_ptr_nonnull(strstr(text, "1 &lt; 2"));
	ck_assert_ptr_nonnull(strstr(text, "&lt;b&gt;"));
	ck_assert_ptr_nonnull(strstr(text, "Table &amp; all"));
	ck_assert_ptr_nonnull(strstr(text, "<svg id='p-1'/>"));
	ck_assert_ptr_nonnull(strstr(text, "</html>"));
	free(text);
}
END_TEST

START_TEST(report_without_plots_is_whole)
{
	char *text;

	bench_section(&bench, "Moving");
	bench_plot(&bench, new_plot()); /* not drawn: no gnuplot */
	text = print_report();
	ck_assert_ptr_null(strstr(text, "<figure>"));
	ck_assert_ptr_nonnull(strstr(text, "</html>"));
	free(text);
}
END_TEST

#define FIXTURE(name) TEST_FIXTURE(name, NULL, set_up, tear_down)

static const struct test tests[] = {
	FIXTURE(result_has_name_unit_value_and_spread),
	FIXTURE(what_was_not_measured_leaves_no_result),
	FIXTURE(document_has_machine_results_and_targets),
	TEST(table_columns_are_aligned, NULL),
	TEST(numbers_keep_three_digits, NULL),
	TEST(plot_script_quotes_and_leaves_out_empty_series, NULL),
	TEST(axis_reaches_what_was_asked_for, NULL),
	TEST(plot_without_points_is_not_drawn, NULL),
	FIXTURE(report_refers_to_nothing_outside),
	FIXTURE(report_without_plots_is_whole),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
