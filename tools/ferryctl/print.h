/* SPDX-License-Identifier: MIT */
/* Output of ferryctl that several commands share: JSON, by jansson. */
#ifndef FERRYCTL_PRINT_H
#define FERRYCTL_PRINT_H

#include <jansson.h>
#include <stdint.h>

/* JSON has no unsigned numbers of 64 bits: what is beyond 2^63 is cut. */
void ctl_json_bytes(json_t *to, const char *key, uint64_t n);

/* Text of another process: what is not UTF-8 is shown as '?'. */
void ctl_json_text(json_t *to, const char *key, const char *text);

/* "start" and "end", as hexadecimal strings, which JSON's numbers cannot be. */
void ctl_json_range(json_t *to, uint64_t start, uint64_t end);

/* Prints it as one line, or laid out, and frees it. */
void ctl_json_line(json_t *value);
void ctl_json_document(json_t *value);

#endif
