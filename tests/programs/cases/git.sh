# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
need git
GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 HOME=$PWD
export GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM HOME

# 400 commits to 40 files, as a stream.
history()
{
	awk 'function data(s) { printf "data %d\n%s\n", length(s), s }
	BEGIN {
		for (i = 1; i <= 400; i++) {
			printf "commit refs/heads/main\nmark :%d\n", i
			printf "committer A U Thor <a@example.org> %d +0000\n",
				1600000000 + i * 60
			data("Change " i)
			printf "M 644 inline dir%d/file%d\n", i % 5, i % 40
			s = ""
			for (j = 0; j < 300; j++)
				s = s "line " j " of " (j % 10 ? i % 40 : i) "\n"
			data(s)
		}
	}'
}

git init -q -b main origin
cd origin
history | git fast-import --quiet
git reset -q --hard
git rev-parse HEAD
git log --stat --format='%H %s' | cksum
git blame dir0/file0 | cksum
cd ..
git clone -q --no-local origin copy
cd copy
git log --format=%H -p | cksum
git gc -q --aggressive --prune=now
git fsck --full 2>&1
git count-objects -v | sed -n 's/^\(count\|in-pack\|packs\):/\1/p'
git rev-list --objects --all | cut -d ' ' -f 1 > objects
# One process that reads all, pauses, and reads all again.
{ cat objects; rest; cat objects; } |
	git cat-file --batch --unordered | cksum
git grep -c 'line 7 of' | cksum
git checkout -q -b other HEAD~50
echo more > dir1/more
git add dir1/more
GIT_AUTHOR_DATE=@1700000000 GIT_COMMITTER_DATE=@1700000000 \
	git -c user.name=a -c user.email=a@example.org commit -q -m more
GIT_AUTHOR_DATE=@1700000000 GIT_COMMITTER_DATE=@1700000000 \
	git -c user.name=a -c user.email=a@example.org merge -q -m merge main
git rev-parse HEAD
git status --short
