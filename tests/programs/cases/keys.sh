# SPDX-License-Identifier: MIT
. "$programs/lib.sh"
want openssl
text 30000 > text
openssl dgst -sha256 -r text
openssl enc -aes-256-cbc -pbkdf2 -pass pass:word -S 0102030405060708 -in text \
	-out enc
openssl enc -d -aes-256-cbc -pbkdf2 -pass pass:word -S 0102030405060708 \
	-in enc | cmp - text
openssl genrsa -out key.pem 2048 2> /dev/null
openssl req -x509 -new -key key.pem -subj /CN=here -days 9 -out cert.pem
openssl verify -CAfile cert.pem cert.pem
openssl speed -seconds 1 -bytes 1024 -multi 2 sha256 > /dev/null 2>&1
echo "speed $?"
if command -v ssh-keygen > /dev/null; then
	ssh-keygen -q -t ed25519 -N '' -C here -f id
	ssh-keygen -q -t rsa -b 2048 -N '' -C here -f id2
	ssh-keygen -l -f id | cut -d ' ' -f 1,3-
	ssh-keygen -y -f id2 | cmp - id2.pub > /dev/null
	ssh-keygen -Y sign -q -f id -n file text 2> /dev/null
	ssh-keygen -Y check-novalidate -n file -s text.sig < text |
		sed 's/ with.*//'
fi
if command -v curl > /dev/null; then
	curl -s "file://$PWD/text" | cmp - text
	curl -s --remote-name "file://$PWD/nothing" || echo "curl $?"
fi
