# SPDX-License-Identifier: MIT
. "$programs/lib.sh"
want vim
text 20000 > text
vim -u NONE -i NONE -n -es -c 'g/7 line/m0' -c '%s/text/TEXT/g' -c 'sleep 300m' \
	-c '%!sort' -c 'undo' -c 'sleep 300m' -c 'wq! out' text || :
cksum out
if command -v less > /dev/null; then
	less -F -X text < /dev/null | cksum
fi
