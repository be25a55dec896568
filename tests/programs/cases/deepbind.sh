# SPDX-License-Identifier: MIT
. "$programs/lib.sh"
"$bin/binds_deeply" "$bin/.libs/deep_module.so"
