/* SPDX-License-Identifier: MIT */
/* The commands of ferryctl. */
#include "tools/ferryctl/ctl.h"

/* In the order of help and man page. */
/* clang-format off */
const struct ctl_command *const ctl_commands[] = {
	&ctl_cmd_list,
	&ctl_cmd_top,
	&ctl_cmd_stat,
	&ctl_cmd_maps,
	&ctl_cmd_classify,
	&ctl_cmd_watch,
	&ctl_cmd_mbind,
	&ctl_cmd_migrate,
	&ctl_cmd_migrate_phys,
	&ctl_cmd_reclaim,
	&ctl_cmd_compact,
	&ctl_cmd_pin,
	&ctl_cmd_unpin,
	&ctl_cmd_hint,
	&ctl_cmd_collect,
	&ctl_cmd_configure,
	NULL,
};
/* clang-format on */
