# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
want ruby
ruby --disable-gems -e '
h = {}
40000.times { |i| h["key #{i}"] = ["v" * (i % 200), i, { a: i }] }
sleep 0.4
puts h.sum { |k, v| k.size + v[0].size + v[1] }
GC.start
h.delete_if { |k, v| v[1] % 3 == 0 }
sleep 0.3
GC.start
puts h.sum { |k, v| k.size + v[0].size + v[2][:a] }
t = 4.times.map { |i| Thread.new { (0..20000).map { |j| "#{i} #{j}" }.join.size } }
puts t.map(&:value).inspect
pid = fork { exit!(h.size % 200) }
Process.wait(pid)
puts $?.exitstatus
puts h.map { |k, v| v[0] }.sort.join.sum
'
