/* SPDX-License-Identifier: MIT */
/* All of Ferry's interface. */
#ifndef FERRY_FERRY_H
#define FERRY_FERRY_H

#include <ferry/agent.h>
#include <ferry/arena.h>
#include <ferry/base.h>
#include <ferry/compact.h>
#include <ferry/demand.h>
#include <ferry/dirty.h>
#include <ferry/eligible.h>
#include <ferry/event.h>
#include <ferry/fault.h>
#include <ferry/handover.h>
#include <ferry/heap.h>
#include <ferry/move.h>
#include <ferry/mutator.h>
#include <ferry/object.h>
#include <ferry/root.h>
#include <ferry/tier.h>
#include <ferry/topology.h>
#include <ferry/uffd.h>
#include <ferry/version.h>
#include <ferry/weak.h>

#endif
