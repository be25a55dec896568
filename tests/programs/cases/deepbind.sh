# SPDX-License-Identifier: MIT
. "$programs/lib.sh"
# The module is found by the program's RUNPATH alone.
"$bin/binds_deeply" deep_module.so
