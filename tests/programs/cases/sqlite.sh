# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
need sqlite3

statements()
{
	cat <<'SQL'
PRAGMA cache_size = -32000;
CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT, v BLOB, n REAL);
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c
  WHERE i < 200000)
INSERT INTO t SELECT i, printf('key %08x', i * 2654435761 % 4294967296),
  printf('%.*c', i % 60, 'v'), i / 7.0 FROM c;
.system sleep 0.4
SELECT count(*), sum(length(v)), round(sum(n), 3) FROM t;
CREATE INDEX by_key ON t (k);
.system sleep 0.4
SELECT id, k FROM t ORDER BY k LIMIT 5 OFFSET 100000;
UPDATE t SET v = v || k WHERE id % 3 = 0;
DELETE FROM t WHERE id % 5 = 1;
.system sleep 0.4
SELECT count(*), sum(length(v)), max(k), min(k) FROM t;
SELECT k, count(*) FROM (SELECT substr(k, 1, 6) AS k FROM t) GROUP BY k
  ORDER BY 1 LIMIT 10;
PRAGMA integrity_check;
SQL
}

statements | sqlite3 :memory:
statements | sqlite3 file.db
sqlite3 file.db 'VACUUM; PRAGMA integrity_check;' .dump | cksum
