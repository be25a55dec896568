# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
want lua5.4
lua5.4 -e '
local t = {}
for i = 1, 60000 do t[i] = { ("v"):rep(i % 200) .. i, i, { i } } end
os.execute("sleep 0.4")
local n = 0
for i, v in ipairs(t) do n = n + #v[1] + v[2] + v[3][1] end
print(n)
for i = 1, 60000 do if i % 3 ~= 0 then t[i] = false end end
collectgarbage()
os.execute("sleep 0.3")
n = 0
for i = 1, 60000 do if t[i] then n = n + #t[i][1] * i end end
print(n)
'
