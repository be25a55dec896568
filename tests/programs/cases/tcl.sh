# SPDX-License-Identifier: MIT
. "$programs/lib.sh"
want tclsh
cat > case.tcl <<'TCL'
for {set i 0} {$i < 40000} {incr i} {
	set a($i) [string repeat v [expr {$i % 200}]]
	lappend l [list $i [expr {$i * $i % 997}]]
}
after 400
set n 0
foreach k [array names a] { incr n [string length $a($k)] }
puts $n
puts [lrange [lsort -integer -index 1 $l] 100 103]
TCL
tclsh case.tcl
