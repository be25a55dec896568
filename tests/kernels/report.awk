# SPDX-License-Identifier: MIT
# Turns what a guest of the kernel matrix wrote into the lines of `make check`.
#
# usage: awk -v boot=NAME -v status=N -v limit=SECONDS -f report.awk \
#		REPORT KERNEL-LOG
#
# REPORT is the second serial line (see init.c), KERNEL-LOG the first; status
# and limit are how the emulator ended: 124 is that it was stopped after limit.
# The guest's kernel counts as one program, which passes when the guest ran to
# its end and the kernel found no fault in itself.

function detail(text)
{
	details = details "     " text "\n"
}

function result(name)
{
	printf "%s %s/%s: %d passed, %d failed, %d skipped\n%s",
		failed ? "FAIL" : passed ? "PASS" : "SKIP",
		boot, name, passed, failed, skipped, details
	total_passed += passed
	total_failed += failed
	total_skipped += skipped
	begin_program("")
}

function begin_program(path)
{
	program = path
	sub(/.*\//, "", program)
	passed = failed = skipped = counted = spoken = 0
	details = ""
}

# The last words of a program that did not end by itself.
function last_words(i)
{
	for (i = spoken > 10 ? spoken - 10 : 0; i < spoken; i++)
		detail("| " words[i])
}

# What the harness counted, corrected by how the program ended.
function end_program(how)
{
	if (how == "exit 77") {
		if (!counted)
			skipped++
	} else if (how != "exit 0") {
		if (how != "exit 1" || !failed) {
			detail("FAIL ended by " how)
			last_words()
			failed++
		}
	} else if (!counted) {
		passed++
	}
	result(program)
}

function own_line()
{
	if ($2 == "start")
		begin_program($3)
	else if ($2 == "done")
		end_program($4 " " $5)
	else if ($2 == "kernel")
		release = $3
	else if ($2 == "node")
		nodes = nodes "; node " $3 ": CPUs " $5 ", " \
			int($7 / 1024) " MiB"
	else if ($2 == "end")
		ended = 1
	else if ($2 == "taint")
		notes = notes "     NOTE " $3 " tainted the kernel: " $4 "\n"
	else if ($2 == "warning:")
		notes = notes "     NOTE " substr($0, 22) "\n"
}

# The harness repeats in its RESULT what its lines before said.
function test_line()
{
	if ($0 != "")
		words[spoken++] = $0
	if ($1 == "RESULT" && NF == 5) {
		counted = 1
		passed = $3
		failed = $4
		skipped = $5
	} else if ($1 == "ok" && !counted) {
		passed++
	} else if ($1 == "FAIL" && !counted) {
		failed++
		detail($0)
	} else if ($1 == "SKIP" && !counted) {
		skipped++
		detail($0)
	}
}

# A lockup or stall may be the emulation's slowness, and a warning is the
# kernel's opinion: notes. After the rest the kernel is not to be believed.
function kernel_line()
{
	if (/soft lockup|workqueue lockup|self-detected stall|detected stalls|blocked for more than|WARNING: /) {
		notes = notes "     NOTE " $0 "\n"
	} else if (/ BUG[: ]|Oops|KASAN|KCSAN|UBSAN|general protection fault[,:]|Kernel panic/) {
		notes = notes "     FAIL " $0 "\n"
		splats++
		context = 12
	} else if (context > 0) {
		notes = notes "     | " $0 "\n"
		context--
	}
}

{ sub(/\r$/, "") }
FNR == NR && $1 == "ferry-init:" { own_line(); next }
FNR == NR { test_line(); next }
{ kernel_line() }

END {
	if (program != "")
		end_program("the end of the guest")
	if (status == 124)
		detail("FAIL the guest was stopped after " limit " s")
	else if (!ended)
		detail("FAIL the guest died")
	passed = ended && !splats
	failed = !passed
	details = details notes
	result("kernel")
	printf "KERNEL %s (%s%s): %d passed, %d failed, %d skipped", boot,
		release ? release : "never started", nodes, total_passed,
		total_failed, total_skipped
}
