/* SPDX-License-Identifier: MIT */
/*
 * Between a test's server (server.h) and who asks it: what connections say can
 * be held back until long after they were given up, as a network or a server
 * that stalls does.
 */
#ifndef FERRY_TESTS_RELAY_H
#define FERRY_TESTS_RELAY_H

/* Where it listens: in the folder of the server. */
extern char relay_path[96];

/* Begins it, a process; the server runs. */
void relay_start(void);

/* What the connections that there are say from here on is held back. */
void relay_hold(void);

/* It goes to the server after all; returns when that has done it all. */
void relay_release(void);

void relay_end(void);

#endif
