# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
need stress-ng

stress()
{
	echo "$*"
	stress-ng --quiet --verify --temp-path "$PWD" --timeout 4 "$@"
}

stress --malloc 2 --malloc-bytes 64M --malloc-touch
stress --fork 2
stress --vfork 2
stress --vm 1 --vm-bytes 32M
stress --malloc 1 --malloc-pthreads 2 --malloc-bytes 32M --fork 1
