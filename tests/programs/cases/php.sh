# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
want php
USE_ZEND_ALLOC=0
export USE_ZEND_ALLOC
# shellcheck disable=SC2016 # PHP's own variables
php -n -r '
$a = [];
for ($i = 0; $i < 60000; $i++) $a["key $i"] = [str_repeat("v", $i % 200), $i];
usleep(400000);
$n = 0;
foreach ($a as $k => $v) $n += strlen($k) + strlen($v[0]) + $v[1];
echo $n, "\n";
foreach (array_keys($a) as $i => $k) if ($i % 3) unset($a[$k]);
usleep(300000);
ksort($a);
echo md5(serialize($a)), "\n";
'
