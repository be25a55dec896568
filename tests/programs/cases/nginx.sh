# SPDX-License-Identifier: MIT
# A server that becomes a daemon, and whose workers become somebody else.
. "$programs/lib.sh"
want nginx curl
if [ "$(id -u)" -ne 0 ]; then
	skip root 'only root can become somebody else'
fi
# Paths of sockets are short, and all on the way has to be open to nobody.
site=$(mktemp -d /tmp/ferry-nginx.XXXXXX)
trap 'rm -rf "$site"' EXIT
chmod 755 "$site"
mkdir "$site/root"
text 20000 > "$site/root/text"
cat > "$site/conf" <<CONF
user nobody nogroup;
worker_processes 2;
pid $site/pid;
error_log /dev/null;
events { }
http {
	access_log off;
	client_body_temp_path $site/body;
	proxy_temp_path $site/proxy;
	fastcgi_temp_path $site/fastcgi;
	uwsgi_temp_path $site/uwsgi;
	scgi_temp_path $site/scgi;
	gzip on;
	gzip_types *;
	server { listen unix:$site/socket; root $site/root; }
}
CONF
get()
{
	curl -s --compressed --unix-socket "$site/socket" http://here/text |
		cksum
}

nginx -c "$site/conf" -e /dev/null
until_true test -s "$site/pid"
for n in 1 2 3 4 5 6 7 8; do
	echo "$n $(get)"
done
rest
get
kill -HUP "$(cat "$site/pid")"
rest 1
get
kill -QUIT "$(cat "$site/pid")"
until_true test ! -e "$site/pid"
echo ended
