/* The functions of thread_functions.h as the pool's threads call them: arguments in their order. */
#include "molt.h"

#include "thread_functions.h"
#include "thread_pool.h"

/* An argument that is an address. */
static void *at(uint64_t argument)
{
	return (void *)(uintptr_t)argument;
}

/* An argument that is a signed integer of 32 bits: a descriptor, say. */
static int32_t number(uint64_t argument)
{
	return (int32_t)(uint32_t)argument;
}

static int64_t call_sync(const uint64_t *a)
{
	return molt_sync(number(a[0]));
}

static int64_t call_datasync(const uint64_t *a)
{
	return molt_datasync(number(a[0]));
}

static int64_t call_connect_patiently(const uint64_t *a)
{
	return molt_connect_patiently(number(a[0]), at(a[1]), (uint32_t)a[2], number(a[3]),
				      (int64_t)a[4]);
}

static int64_t call_resolve(const uint64_t *a)
{
	return molt_resolve(at(a[0]), at(a[1]), number(a[2]), number(a[3]), at(a[4]),
			    (uint32_t)a[5]);
}

static int64_t call_channel_write(const uint64_t *a)
{
	return molt_channel_write(at(a[0]), at(a[1]), a[2]);
}

static int64_t call_channel_read(const uint64_t *a)
{
	return molt_channel_read(at(a[0]), at(a[1]), a[2]);
}

static int64_t call_pages_transfer(const uint64_t *a)
{
	return molt_pages_transfer(at(a[0]));
}

static int64_t call_dirty_log_get(const uint64_t *a)
{
	return molt_dirty_log_get(number(a[0]), (uint32_t)a[1], a[2], at(a[3]), at(a[4]), a[5]);
}

static int64_t call_dirty_log_clear(const uint64_t *a)
{
	return molt_dirty_log_clear(number(a[0]), (uint32_t)a[1], a[2], a[3], at(a[4]), a[5],
				    a[6]);
}

static int64_t call_ram_send(const uint64_t *a)
{
	return molt_ram_send(at(a[0]), at(a[1]), at(a[2]), at(a[3]), a[4], a[5], (uint32_t)a[6],
			     at(a[7]), at(a[8]));
}

static int64_t call_ram_receive(const uint64_t *a)
{
	return molt_ram_receive(at(a[0]), at(a[1]), a[2], at(a[3]), at(a[4]), (uint32_t)a[5]);
}

static int64_t call_multifd_send(const uint64_t *a)
{
	return molt_multifd_send(at(a[0]), at(a[1]), at(a[2]), at(a[3]), at(a[4]), a[5], a[6],
				 (uint32_t)a[7], at(a[8]), at(a[9]), at(a[10]));
}

static int64_t call_multifd_send_sync(const uint64_t *a)
{
	return molt_multifd_send_sync(at(a[0]), at(a[1]), at(a[2]));
}

static int64_t call_multifd_receive(const uint64_t *a)
{
	return molt_multifd_receive(at(a[0]), at(a[1]), at(a[2]), (uint32_t)a[3]);
}

static int64_t call_drop_zero_pages(const uint64_t *a)
{
	molt_drop_zero_pages(a[0], at(a[1]), a[2], a[3]);
	return 0;
}

static int64_t call_drop_file_holes(const uint64_t *a)
{
	return molt_drop_file_holes(number(a[0]), (int64_t)a[1], at(a[2]), a[3], a[4]);
}

static int64_t call_drop_untouched(const uint64_t *a)
{
	return molt_drop_untouched(a[0], at(a[1]), a[2], a[3]);
}

#define FUNCTION(name) { "molt_" #name, call_##name }

const struct molt_thread_function molt_thread_functions[] = {
	FUNCTION(sync),
	FUNCTION(datasync),
	FUNCTION(connect_patiently),
	FUNCTION(resolve),
	FUNCTION(channel_write),
	FUNCTION(channel_read),
	FUNCTION(pages_transfer),
	FUNCTION(dirty_log_get),
	FUNCTION(dirty_log_clear),
	FUNCTION(ram_send),
	FUNCTION(ram_receive),
	FUNCTION(multifd_send),
	FUNCTION(multifd_send_sync),
	FUNCTION(multifd_receive),
	FUNCTION(drop_zero_pages),
	FUNCTION(drop_file_holes),
	FUNCTION(drop_untouched),
};

const uint32_t molt_thread_function_count =
	sizeof molt_thread_functions / sizeof molt_thread_functions[0];
