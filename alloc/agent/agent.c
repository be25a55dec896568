/* SPDX-License-Identifier: MIT */
/*
 * The agent's beginning and end: by call, by environment, around fork(2), and
 * when the program ends.
 *
 * What a child of fork(2) has of it: nothing. The thread is not there, its
 * descriptors were in a table that is not copied, and its memory is not
 * inherited (MADV_DONTFORK). Only the pointer is forgotten here; with
 * follow_fork an agent of the child's own begins then.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/agent/agent-internal.h"
#include "uffd/sys.h"

#define RANGES_MAX	((size_t)65536)
#define CONNECTIONS_MAX 16u
#define PATIENCE_NS	5000000000ull
#define BYTES_MIN	((size_t)1 << 20)
/* Who asks for more than this is not configuring but mistaken. */
#define RANGES_MOST	 ((size_t)1 << 28)
#define CONNECTIONS_MOST 65536u

/* Of those that start and stop it, one at a time. Rank 0; not held by forks:
 * who stops the agent waits for its thread, which may wait for any lock. */
static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER;
/* Rank 90: of the words below, and for moments only. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ferry__agent_server *running;
static bool follow_fork;
static int owner; /* pid of the process that it runs in */

/* Under life, or in a child of fork(2): of the last start. */
static struct ferry__agent_config config;
static char config_dir[sizeof(config.name.sun_path)]; /* "": none */

static int start_server(void)
{
	struct ferry__agent_server *server;
	int r;

	r = ferry__agent_name(config_dir[0] ? config_dir : NULL, &config.name);
	if (r == 0)
		r = ferry__agent_server_start(&config, &server);
	if (r < 0)
		return r;
	pthread_mutex_lock(&lock);
	running = server;
	owner = ferry__sys->getpid();
	pthread_mutex_unlock(&lock);
	return 0;
}

/* --- fork ------------------------------------------------------------------- */

static void fork_prepare(void)
{
	if (ferry__agent_host.fork_prepare)
		ferry__agent_host.fork_prepare();
	pthread_mutex_lock(&lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&lock);
	if (ferry__agent_host.fork_parent)
		ferry__agent_host.fork_parent();
}

/* Where the child's agent cannot be had, the child goes on without. */
static void fork_child(void)
{
	bool again = running && follow_fork;

	running = NULL;
	pthread_mutex_unlock(&lock);
	if (ferry__agent_host.fork_child)
		ferry__agent_host.fork_child();
	/* Who had it is not here. */
	life = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	if (again)
		start_server();
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_result;

static void register_handlers(void)
{
	if (ferry__agent_host.prepare)
		once_result = ferry__agent_host.prepare();
	if (!once_result)
		once_result =
			-pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* --- parameters ----------------------------------------------------------------- */

static int take_params(const struct ferry_agent_params *p)
{
	struct ferry__agent_config c = { .refuse = p->refuse };
	size_t ranges = p->ranges_max ? p->ranges_max : RANGES_MAX;

	if (ranges > RANGES_MOST || p->connections_max > CONNECTIONS_MOST)
		return -EINVAL;
	if (p->dir && strlen(p->dir) >= sizeof(config_dir))
		return -ENAMETOOLONG;
	c.ranges_max = ranges;
	c.request_max = BYTES_MIN + ranges * sizeof(struct ferry_agent_range);
	c.reply_max = 4 * BYTES_MIN + ranges * 4 * sizeof(uint64_t);
	if (p->request_max)
		c.request_max = p->request_max;
	if (c.request_max < sizeof(struct ferry_agent_request))
		return -EINVAL;
	c.connections_max = p->connections_max ? p->connections_max
					       : CONNECTIONS_MAX;
	c.patience_ns = p->patience_ns ? p->patience_ns : PATIENCE_NS;
	config = c;
	strcpy(config_dir, p->dir ? p->dir : "");
	follow_fork = p->follow_fork;
	return 0;
}

int ferry_agent_start(const struct ferry_agent_params *params)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	int r = 0;

	if (params)
		r = ferry__params_copy(&p, sizeof(p), params, sizeof(p.size));
	if (r < 0)
		return r;
	pthread_once(&once, register_handlers);
	if (once_result)
		return once_result;
	pthread_mutex_lock(&life);
	r = running ? -EALREADY : take_params(&p);
	if (r == 0)
		r = start_server();
	pthread_mutex_unlock(&life);
	return r;
}

void ferry_agent_stop(void)
{
	struct ferry__agent_server *server;

	pthread_mutex_lock(&life);
	pthread_mutex_lock(&lock);
	server = running;
	running = NULL;
	pthread_mutex_unlock(&lock);
	if (server)
		ferry__agent_server_stop(server);
	pthread_mutex_unlock(&life);
}

/* --- by the environment ------------------------------------------------------------ */

static pthread_once_t environment_once = PTHREAD_ONCE_INIT;

/* "1": this process; "fork": its children, too. */
static void read_environment(void)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	const char *value = secure_getenv("FERRY_AGENT");

	if (!value || (strcmp(value, "1") && strcmp(value, "fork")))
		return;
	p.follow_fork = value[0] != '1';
	ferry_agent_start(&p);
}

void ferry__agent_by_environment(void)
{
	pthread_once(&environment_once, read_environment);
}

/*
 * The name goes with the process; the thread goes by itself. It is not waited
 * for: it may want a lock that who calls exit(3) holds. Nor is our lock, which
 * a signal handler that calls exit(3) may have found taken: then somebody
 * starts or stops the agent, or forks, just now, and the name may stay.
 */
__attribute__((destructor)) static void at_exit(void)
{
	if (pthread_mutex_trylock(&lock))
		return;
	if (running && owner == ferry__sys->getpid())
		ferry__sys->unlink(config.name.sun_path);
	pthread_mutex_unlock(&lock);
}
