/* SPDX-License-Identifier: MIT */
/* A Redis server of a test's own, behind a socket in a folder of its own. */
#ifndef FERRY_TESTS_SERVER_H
#define FERRY_TESTS_SERVER_H

/* The folder, made by server_folder(), and the socket's path within. */
extern char server_dir[64], server_path[96];
extern int server_pid; /* 0: none runs */

/* Makes the folder; the server is another matter. */
void server_folder(void);

/* With more @options, a list that NULL ends; waits until it listens. */
void server_start(const char *const *options);
void server_kill(void);

/* Ends the server, if there is one, and removes the folder: empty by now. */
void server_end(void);

#endif
