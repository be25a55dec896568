/* SPDX-License-Identifier: MIT */
/*
 * The configuration string: "key:value,key:value".
 *
 * Read in the first constructor of the process, before the C library has been
 * initialised: nothing here allocates, and complaints are written as they are.
 */
#include "alloc/malloc/conf.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uffd/sys.h"

/* A piece of the string; not zero-terminated. */
struct text {
	const char *at;
	size_t len;
};

struct key;
typedef int (*set_fn)(struct ferry__conf *conf, const struct key *key,
		      struct text value);

struct key {
	const char *name;
	size_t offset; /* of its field in struct ferry__conf */
	set_fn set;
};

static bool equals(struct text text, const char *word)
{
	return strlen(word) == text.len && !memcmp(text.at, word, text.len);
}

/* --- values ---------------------------------------------------------------------- */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit sizes[] = {
	{ "", 1 },
	{ "k", UINT64_C(1) << 10 },
	{ "m", UINT64_C(1) << 20 },
	{ "g", UINT64_C(1) << 30 },
	{ "t", UINT64_C(1) << 40 },
	{ NULL, 0 },
};

#define SECOND UINT64_C(1000000000)

static const struct unit times[] = {
	{ "ns", 1 },	 { "us", 1000 },	 { "ms", 1000000 },
	{ "s", SECOND }, { "min", 60 * SECOND }, { "h", 3600 * SECOND },
	{ NULL, 0 },
};

/* The digits that @text begins with, which are taken off it. */
static int take_number(struct text *text, uint64_t *ret)
{
	size_t len = text->len;
	uint64_t n = 0;

	for (; text->len && *text->at >= '0' && *text->at <= '9';
	     text->at++, text->len--) {
		if (__builtin_mul_overflow(n, 10u, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*text->at - '0'), &n))
			return -EINVAL;
	}
	if (text->len == len)
		return -EINVAL;
	*ret = n;
	return 0;
}

/* Units are written small, but for K, M, G and T. */
static bool is_unit(struct text text, const char *name)
{
	char small;

	if (equals(text, name))
		return true;
	small = text.len ? (char)(*text.at | 0x20) : '\0';
	return text.len == 1 && strlen(name) == 1 && strchr("kmgt", small) &&
	       *name == small;
}

static int read_with_unit(struct text value, const struct unit *units,
			  uint64_t *ret)
{
	uint64_t n;

	if (take_number(&value, &n))
		return -EINVAL;
	for (; units->name; units++) {
		if (!is_unit(value, units->name))
			continue;
		return __builtin_mul_overflow(n, units->factor, ret) ? -EINVAL
								     : 0;
	}
	return -EINVAL;
}

static void *field(struct ferry__conf *conf, const struct key *key)
{
	return (char *)conf + key->offset;
}

static int set_bytes(struct ferry__conf *conf, const struct key *key,
		     struct text value)
{
	return read_with_unit(value, sizes, field(conf, key));
}

/* A plain 0 needs no unit. */
static int set_time(struct ferry__conf *conf, const struct key *key,
		    struct text value)
{
	if (equals(value, "0"))
		value = (struct text){ "0s", 2 };
	return read_with_unit(value, times, field(conf, key));
}

static int set_bool(struct ferry__conf *conf, const struct key *key,
		    struct text value)
{
	static const char *const words[] = { "off", "false", "no",  "0",
					     "on",  "true",  "yes", "1" };
	bool *out = field(conf, key);
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (!equals(value, words[i]))
			continue;
		*out = i >= 4;
		return 0;
	}
	return -EINVAL;
}

static int set_offload(struct ferry__conf *conf, const struct key *key,
		       struct text value)
{
	static const char *const words[] = { "auto", "off", "on", "sigbus" };
	size_t i;

	(void)key;
	for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (!equals(value, words[i]))
			continue;
		conf->offload = (enum ferry__conf_offload)i;
		return 0;
	}
	return -EINVAL;
}

static int set_path(struct ferry__conf *conf, const struct key *key,
		    struct text value)
{
	(void)key;
	if (!value.len || value.len >= PATH_MAX)
		return -EINVAL;
	conf->stats_file = value.at;
	conf->stats_file_len = value.len;
	return 0;
}

static int set_control(struct ferry__conf *conf, const struct key *key,
		       struct text value)
{
	(void)key;
	if (!value.len || value.len >= PATH_MAX)
		return -EINVAL;
	conf->control = value.at;
	conf->control_len = value.len;
	return 0;
}

/* --- stores ------------------------------------------------------------------------ */

#define ROOM                                                                   \
	((size_t)1 << 16) /* bytes mapped for the list: more than fit in
				  an environment that names stores */

static int set_codec(struct ferry__conf *conf, const struct key *key,
		     struct text value)
{
	bool zstd = equals(value, "zstd");
	size_t i;

	(void)key;
	if (!zstd && !equals(value, "lz4"))
		return -EINVAL;
	for (i = 0; i < conf->n_tiers; i++)
		conf->tiers[i].codec = zstd ? FERRY__CODEC_ZSTD
					    : FERRY__CODEC_LZ4;
	return 0;
}

/* "KIND@AGE": the age is taken off. */
static void take_age(struct text *value, uint64_t *ret)
{
	const char *at = memrchr(value->at, '@', value->len);
	struct text age;

	if (!at)
		return;
	age = (struct text){ at + 1,
			     value->len - (size_t)(at + 1 - value->at) };
	if (!read_with_unit(age, times, ret))
		value->len = (size_t)(at - value->at);
}

static bool starts(struct text value, const char *with,
		   struct ferry__conf_tier *tier)
{
	size_t len = strlen(with);

	if (value.len <= len || memcmp(value.at, with, len))
		return false;
	tier->where = value.at + len;
	tier->where_len = value.len - len;
	return true;
}

static int read_node(struct ferry__conf_tier *tier)
{
	struct text text = { tier->where, tier->where_len };
	uint64_t n;

	if (take_number(&text, &n) || text.len || n > INT_MAX)
		return -EINVAL;
	tier->kind = FERRY__CONF_NODE;
	tier->node = (unsigned int)n;
	return 0;
}

static int read_tier(struct text value, struct ferry__conf_tier *tier)
{
	take_age(&value, &tier->after_ns);
	if (equals(value, "memory") || equals(value, "lz4"))
		return 0;
	if (equals(value, "zstd")) {
		tier->codec = FERRY__CODEC_ZSTD;
		return 0;
	}
	if (equals(value, "slow")) {
		tier->kind = FERRY__CONF_SLOW;
		return tier->after_ns ? -EINVAL : 0;
	}
	if (starts(value, "node=", tier))
		return read_node(tier);
	if (starts(value, "file=", tier))
		tier->kind = FERRY__CONF_FILE;
	else if (starts(value, "redis=", tier))
		tier->kind = FERRY__CONF_REDIS;
	else
		return -EINVAL;
	return tier->where_len < PATH_MAX ? 0 : -EINVAL;
}

static int make_room(struct ferry__conf *conf)
{
	void *p;
	int r;

	if (conf->tiers)
		return 0;
	r = ferry__sys->mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &p);
	if (!r)
		conf->tiers = p;
	return r;
}

static int set_store(struct ferry__conf *conf, const struct key *key,
		     struct text value)
{
	struct ferry__conf_tier tier = { .kind = FERRY__CONF_MEMORY };
	int r = read_tier(value, &tier);

	(void)key;
	if (!r)
		r = make_room(conf);
	if (r)
		return r;
	if ((conf->n_tiers + 1) * sizeof(tier) > ROOM)
		return -ENOSPC;
	conf->tiers[conf->n_tiers++] = tier;
	return 0;
}

/* --- keys ------------------------------------------------------------------------- */

#define FIELD(name) offsetof(struct ferry__conf, name)

/* What ferry-malloc(7) documents; codec counts for the stores before it. */
static const struct key keys[] = {
	{ "offload", 0, set_offload },
	{ "cold_after", FIELD(cold_after_ns), set_time },
	{ "idle_after", FIELD(idle_after_ns), set_time },
	{ "slow_for", FIELD(slow_for_ns), set_time },
	{ "rss_target", FIELD(rss_target), set_bytes },
	{ "pressure", FIELD(pressure), set_bool },
	{ "rate", FIELD(rate), set_bytes },
	{ "refault_limit", FIELD(refault_limit), set_bytes },
	{ "around", FIELD(around), set_bytes },
	{ "min_heap", FIELD(min_heap), set_bytes },
	{ "store", 0, set_store },
	{ "codec", 0, set_codec },
	{ "store_limit", FIELD(store_limit), set_bytes },
	{ "stats_exit", FIELD(stats_exit), set_bool },
	{ "stats_signal", FIELD(stats_signal), set_bool },
	{ "stats_file", 0, set_path },
	{ "control", 0, set_control },
	{ "stats_interval", FIELD(stats_interval_ns), set_time },
};

/* --- passwords -------------------------------------------------------------------- */

/* The text after @word within @text, or NULL. */
static const char *after(struct text text, const char *word)
{
	const char *at = memmem(text.at, text.len, word, strlen(word));

	return at ? at + strlen(word) : NULL;
}

bool ferry__conf_password(const char *address, size_t len, size_t *ret_at,
			  size_t *ret_len)
{
	struct text text = { address, len };
	const char *login = after(text, "://") ?: address, *at, *end, *colon;

	text.len = len - (size_t)(login - address);
	text.at = login;
	/* A path, which may have an @. */
	if (!text.len || *login == '/')
		return false;
	end = memrchr(login, '@', text.len);
	/* So may a path behind. */
	at = after(text, "@/");
	if (at && len >= 5 && !memcmp(address, "unix:", 5))
		end = at - 2;
	if (!end)
		return false;
	colon = memchr(login, ':', (size_t)(end - login));
	at = colon ? colon + 1 : login;
	*ret_at = (size_t)(at - address);
	*ret_len = (size_t)(end - at);
	return true;
}

/* Where an address begins in what may be meant to name a server, or NULL. */
static const char *address_in(struct text item)
{
	const char *address = after(item, "redis=");

	return address || !after(item, "://") ? address : item.at;
}

/* The password in what may be meant to name a server; else what is empty. */
static struct text password_in(struct text item)
{
	const char *address = address_in(item);
	size_t at, len;

	if (!address ||
	    !ferry__conf_password(
		    address, item.len - (size_t)(address - item.at), &at, &len))
		return (struct text){ item.at + item.len, 0 };
	return (struct text){ address + at, len };
}

/* --- the string --------------------------------------------------------------------- */

static size_t append(char *line, size_t n, size_t size, struct text text)
{
	size_t len = text.len < size - n ? text.len : size - n;

	memcpy(line + n, text.at, len);
	return n + len;
}

/* Where there is no standard error there is nobody to tell. */
static void complain(const char *what, struct text text)
{
	static const char who[] = "ferry-malloc: FERRY_MALLOC_CONF: ";
	struct text secret = password_in(text), front, back;
	char line[256];
	size_t size = sizeof(line) - 2, n;

	front = (struct text){ text.at, (size_t)(secret.at - text.at) };
	back.at = secret.at + secret.len;
	back.len = text.len - front.len - secret.len;
	n = append(line, 0, size, (struct text){ who, sizeof(who) - 1 });
	n = append(line, n, size, (struct text){ what, strlen(what) });
	n = append(line, n, size, front);
	if (secret.len)
		n = append(line, n, size, (struct text){ "***", 3 });
	n = append(line, n, size, back);
	line[n++] = '"';
	line[n++] = '\n';
	ferry__sys->write(STDERR_FILENO, line, n);
}

/* Has the same been complained about further left in the string? */
static bool is_repeated(const char *string, struct text item)
{
	const char *at = string;
	size_t len;

	for (; at < item.at; at += len + 1) {
		len = strcspn(at, ",");
		if (len == item.len && !memcmp(at, item.at, len))
			return true;
	}
	return false;
}

static const struct key *find(struct text name)
{
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (equals(name, keys[i].name))
			return &keys[i];
	return NULL;
}

static const char *parse_item(struct ferry__conf *conf, struct text item)
{
	const char *colon = memchr(item.at, ':', item.len);
	struct text name, value;
	const struct key *key;

	if (!colon)
		return "no \"key:value\": \"";
	name = (struct text){ item.at, (size_t)(colon - item.at) };
	value = (struct text){ colon + 1, item.len - name.len - 1 };
	key = find(name);
	if (!key)
		return "unknown key in \"";
	return key->set(conf, key, value) ? "bad value in \"" : NULL;
}

static void set_defaults(struct ferry__conf *conf)
{
	*conf = (struct ferry__conf){
		.cold_after_ns = 10 * SECOND,
		.idle_after_ns = 2 * SECOND,
		.slow_for_ns = 60 * SECOND,
		.pressure = true,
		.rate = UINT64_C(128) << 20,
		.refault_limit = 2,
		.around = 8,
		.min_heap = UINT64_C(32) << 20,
	};
}

void ferry__conf_parse(struct ferry__conf *conf, const char *string)
{
	const char *at = string, *wrong;
	struct text item;

	set_defaults(conf);
	while (at && *at) {
		item = (struct text){ at, strcspn(at, ",") };
		wrong = item.len ? parse_item(conf, item) : NULL;
		if (wrong && !is_repeated(string, item))
			complain(wrong, item);
		at += item.len;
		at += *at == ',';
	}
}

int ferry__conf_read(struct ferry__conf *conf, const char *string)
{
	const char *at = string;
	struct text item;

	set_defaults(conf);
	while (at && *at) {
		item = (struct text){ at, strcspn(at, ",") };
		if (item.len && parse_item(conf, item)) {
			ferry__conf_fini(conf);
			return -EINVAL;
		}
		at += item.len;
		at += *at == ',';
	}
	return 0;
}

void ferry__conf_fini(struct ferry__conf *conf)
{
	if (conf->tiers)
		ferry__sys->munmap(conf->tiers, ROOM);
	conf->tiers = NULL;
	conf->n_tiers = 0;
}
