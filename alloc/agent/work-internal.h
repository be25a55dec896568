/* SPDX-License-Identifier: MIT */
/*
 * What the files of the agent's work on arenas share. All of it runs in the
 * agent's thread.
 */
#ifndef FERRY_ALLOC_AGENT_WORK_INTERNAL_H
#define FERRY_ALLOC_AGENT_WORK_INTERNAL_H

#include "alloc/agent/agent-internal.h"
#include "alloc/alloc-internal.h"

/* Pages worked on before others have a turn, where they are moved or given
 * back; a few milliseconds. */
#define FERRY__AGENT_STEP_BYTES ((uint64_t)8 << 20)
/* Ranges, where each is a call or two of the kernel's. */
#define FERRY__AGENT_STEP_RANGES 1024u

/* A part of an arena that is held; what an operation works on. */
struct ferry__target {
	struct ferry_arena *arena;
	size_t offset, len;
};

/* --- ranges of a request (target.c) ----------------------------------------- */

/* The span [*@addr, + *@len) of a request, checked for form alone. Returns 0,
 * -EINVAL or -EOVERFLOW and the reason. */
int ferry__agent_check_range(const struct ferry_agent_range *range,
			     enum ferry_reason *ret_reason);

/*
 * Finds and holds what range @i of the job is about. @held: an arena that is
 * held already, to be taken without a search, or NULL; it is let go if the
 * range is not in it, and is *@ret->arena otherwise.
 * Returns 0, or the error and reason of the range's status, and then holds
 * nothing.
 */
int ferry__agent_target(const struct ferry__agent_job *job, size_t i,
			struct ferry_arena *held, struct ferry__target *ret,
			enum ferry_reason *ret_reason);

/* Is range @i in the arena, which is held, and may it be worked on? */
bool ferry__agent_lies_in(const struct ferry__agent_job *job, size_t i,
			  const struct ferry_arena *arena);

void ferry__agent_status_set(struct ferry__agent_job *job,
			     struct ferry_agent_status *status, int error,
			     enum ferry_reason reason);

/* Status @i of the reply. */
struct ferry_agent_status *ferry__agent_status(struct ferry__agent_job *job,
					       size_t i);

/* --- what is done to a range (range.c) ------------------------------------------ */

/*
 * Does as the job says to @t, which is a piece of at most
 * FERRY__AGENT_STEP_BYTES, and adds to .done and .left. Returns 0 or an error
 * for the status, with the reason in it where that is not the errno's own; the
 * pieces behind are worked on all the same unless the error is -EINVAL,
 * -EOPNOTSUPP, -ENOSPC or -EPERM.
 */
int ferry__agent_migrate(const struct ferry__agent_job *job,
			 const struct ferry__target *t,
			 struct ferry_agent_status *status);
int ferry__agent_reclaim(const struct ferry__agent_job *job,
			 const struct ferry__target *t,
			 struct ferry_agent_status *status);
int ferry__agent_compact(const struct ferry__agent_job *job,
			 const struct ferry__target *t,
			 struct ferry_agent_status *status);
int ferry__agent_hint(const struct ferry__agent_job *job,
		      const struct ferry__target *t,
		      struct ferry_agent_status *status);

/* --- pins (pins.c) ----------------------------------------------------------------- */

int ferry__agent_pin(const struct ferry__agent_job *job,
		     const struct ferry__target *t,
		     struct ferry_agent_status *status);
int ferry__agent_unpin(const struct ferry__agent_job *job,
		       const struct ferry__target *t,
		       struct ferry_agent_status *status);

/* Takes away every pin of the agent's. */
void ferry__agent_pins_end(void);

void ferry__agent_pins_fork_prepare(void);
void ferry__agent_pins_fork_parent(void);
void ferry__agent_pins_fork_child(void);

/* --- policies (place.c), physical addresses (phys.c), reports (report.c) ----------- */

/* Each is a step: see struct ferry__agent_host. */
bool ferry__agent_place_step(struct ferry__agent_job *job);
bool ferry__agent_phys_step(struct ferry__agent_job *job);
bool ferry__agent_list_step(struct ferry__agent_job *job);
bool ferry__agent_stats_step(struct ferry__agent_job *job);
bool ferry__agent_map_step(struct ferry__agent_job *job);
bool ferry__agent_residency_step(struct ferry__agent_job *job);

/* Gives back what is kept of the page map. */
void ferry__agent_phys_drop(void);

#endif
