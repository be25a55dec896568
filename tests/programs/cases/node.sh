# SPDX-License-Identifier: MIT
. "$programs/lib.sh"
want node
node -e '
const crypto = require("crypto"), zlib = require("zlib");
const { execFileSync } = require("child_process");
const keep = [];
for (let i = 0; i < 2000; i++) keep.push(Buffer.alloc(4096, i & 255));
const map = new Map();
for (let i = 0; i < 50000; i++) map.set("key" + i, { v: "x".repeat(i % 50) });
setTimeout(() => {
  const hash = crypto.createHash("sha256");
  for (const b of keep) hash.update(b);
  let n = 0;
  for (const [k, v] of map) n += k.length + v.v.length;
  console.log(n, hash.digest("hex"));
  const packed = zlib.gzipSync(Buffer.concat(keep));
  console.log(zlib.gunzipSync(packed).equals(Buffer.concat(keep)));
  console.log(execFileSync("echo", ["child"]).toString().trim());
}, 500);
'
