/* SPDX-License-Identifier: MIT */
/*
 * What is known of a program's way with memory, from the collections so far,
 * and what follows for the next: size, time and kind. Arithmetic alone: no
 * heap, no lock, no clock.
 */
#ifndef FERRY_RUNTIME_MODEL_H
#define FERRY_RUNTIME_MODEL_H

#include <ferry/heap.h>

/* What a collection was like, told when it is over. */
struct ferry__cycle_report {
	enum ferry_collect what;
	size_t live;	     /* bytes marked (minor: estimate of all) */
	size_t used;	     /* bytes in blocks and large objects, after */
	size_t free_in_used; /* of these, in holes */
	size_t allocated; /* bytes from the last one's beginning to this one's */
	size_t allocated_during; /* from its beginning until now */
	uint64_t mark_ns;	 /* CPU time of marking */
	uint64_t wall_ns;	 /* from the request to the end of sweeping */
	uint64_t since_ns; /* from the end of the one before to this request */
};

/* What the host wants, and the state of the system. */
struct ferry__rule {
	enum ferry_sizing sizing;
	size_t min;
	size_t limit;
	unsigned int growth; /* percent */
	bool concurrent;     /* the program allocates during collections */
	bool minors;	     /* collections may be minor */
	bool compacts;	     /* and may compact unasked */
	bool pressed;	     /* the system is short of memory */
};

struct ferry__goal {
	size_t target;	/* total bytes at which the next one ends */
	size_t trigger; /* bytes since the last one began: see whether it is
			   time for the next */
};

/* Rates are bytes a nanosecond, that is to say gigabytes a second. */
struct ferry__model {
	double rate;	   /* g: allocation */
	double rate_busy;  /* the same during the last collection */
	double rate_now;   /* and since its end, when that was looked at */
	double speed;	   /* s: marking, live bytes by CPU time, full */
	double discount;   /* m: what minors leave of the cost of marking */
	double survival;   /* share of young bytes that a minor finds alive */
	double minor_ns;   /* CPU time of a minor's marking */
	double wall_ns[2]; /* of a collection: minor, not minor */
	double safety;	   /* factor of the reserve */
	/* The last collection. */
	size_t live, used, holes;
	size_t during;	/* allocated_during */
	size_t reserve; /* bytes that were expected to be allocated in it */
	uint64_t last_wall_ns;
	enum ferry_collect last;
	struct ferry__goal goal;
	size_t start; /* bytes at which the next one is to begin: goal.trigger
			 may be less, for a look on the way */
	/* The last full one, and what came since. */
	bool had_full;
	size_t live_full; /* bytes that it found */
	size_t extra;	  /* target less these */
	uint64_t full_ns, minors_ns;
	size_t bytes;	     /* allocated */
	unsigned int minors; /* in a row */
	/* Compaction. */
	bool compacting;	     /* asked for; its yield is not known yet */
	size_t before, before_holes; /* used, holes when it was */
	unsigned int poor;	     /* in a row that yielded little */
	unsigned int skip;	     /* fulls to let pass for that */
};

void ferry__model_init(struct ferry__model *m, const struct ferry__rule *rule);

/* A collection is over; @stalled: allocations waited for it. */
void ferry__model_update(struct ferry__model *m, const struct ferry__rule *rule,
			 const struct ferry__cycle_report *report,
			 bool stalled);

/* Computes m->goal anew, such as for another limit. */
void ferry__model_aim(struct ferry__model *m, const struct ferry__rule *rule);

/*
 * The trigger was reached, @since bytes after the last one began and @ns after
 * it ended: is it time? Else there is a later trigger.
 */
bool ferry__model_due(struct ferry__model *m, const struct ferry__rule *rule,
		      size_t since, uint64_t ns);

/* The kind of the next, @since bytes after the last one began. */
enum ferry_collect ferry__model_next(const struct ferry__model *m,
				     const struct ferry__rule *rule,
				     size_t since);

/* Marking of a full one is over: is a compaction worth it? */
bool ferry__model_wants_compaction(struct ferry__model *m,
				   const struct ferry__rule *rule,
				   const struct ferry__cycle_report *report);

/* Bytes of free memory worth keeping after the last update. */
size_t ferry__model_keep(const struct ferry__model *m,
			 const struct ferry__rule *rule);

#endif
