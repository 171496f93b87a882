#ifndef ENTRY_POINTS_H
#define ENTRY_POINTS_H

#include <stdint.h>

#include "../../../ffi/dirty.h"
#include "../../../ffi/thread_pool.h"
#include "../../../ffi/virtio_blk_request.h"
#include "../../../ffi/virtio_net_filter.h"
#include "../../../ffi/wait.h"

/*
 * The C library's entry points that the programs here call and that no header of ffi/ has: a test compares
 * them with the definitions, beside which stands what each does (test/unit/native/symbols_test.ts).
 */

/* wait.c */
int64_t molt_doorbell_create(void);
void molt_doorbell_destroy(uint64_t handle);
void molt_doorbell_wake(uint64_t handle);
int32_t molt_wait(uint64_t handle, int64_t timeout_us, struct molt_wait_result *result);
int32_t molt_wait_idle(uint64_t handle, int64_t timeout_us);
uint32_t molt_wait_vcpus(uint64_t handle);

/* vcpu.c */
int64_t molt_vcpu_create(int32_t fd, uint64_t run_size, uint32_t index, uint64_t doorbell);
uint64_t molt_vcpu_run(uint64_t handle);
int32_t molt_vcpu_thread_id(uint64_t handle);
void molt_vcpu_resume(uint64_t handle);
void molt_vcpu_kick(uint64_t handle);
void molt_vcpu_sleep(uint64_t handle, int64_t length);
void molt_vcpu_destroy(uint64_t handle);

/* virtio_interrupt.c */
int64_t molt_interrupt_create(int32_t vm, int32_t gsi, int32_t attention, uint32_t causes);
int32_t molt_interrupt_error(uint64_t handle);
void molt_interrupt_destroy(uint64_t handle);
int32_t molt_interrupt_attach(uint64_t handle, uint64_t address);
void molt_interrupt_raise(uint64_t handle, uint32_t bits, uint32_t cause);
void molt_interrupt_acknowledge(uint64_t handle, uint32_t bits);
void molt_interrupt_restore(uint64_t handle, uint32_t status);
void molt_interrupt_route(uint64_t handle, uint32_t address, uint32_t data);

/* virtio_memory.c */
int64_t molt_memory_create(const struct molt_memory_region *places, uint32_t count);
void molt_memory_destroy(uint64_t handle);
void molt_memory_record(uint64_t handle, uint32_t index, uint64_t bitmap, uint64_t first);

/* virtio_blk.c */
int64_t molt_disk_create(uint64_t memory, const struct molt_disk_setup *setup,
			 const uint64_t *rings, const int32_t *kicks, uint32_t count,
			 int32_t attention);
void molt_disk_start(uint64_t handle, uint32_t index);
int32_t molt_disk_stop(uint64_t handle, uint32_t index, int64_t deadline);
void molt_disk_destroy(uint64_t handle);
void molt_disk_set_write_cache(uint64_t handle, uint32_t on);
uint32_t molt_disk_errors(uint64_t handle, struct molt_disk_error *errors);
void molt_disk_read_statistics(uint64_t handle, uint64_t *values);

/* virtio_net.c */
int64_t molt_net_create(const uint64_t *rings, const int32_t *kicks, uint32_t count,
			int32_t attention);
void molt_net_destroy(uint64_t handle);
void molt_net_connect(uint64_t handle, uint32_t index, uint32_t kind, int32_t fd, const void *peer,
		      uint32_t peer_length);
void molt_net_negotiate(uint64_t handle, uint32_t header, uint32_t merged);
void molt_net_set_filter(uint64_t handle, const struct molt_net_filter *filter);
void molt_net_set_link(uint64_t handle, uint32_t up);
void molt_net_start(uint64_t handle, uint32_t index);
void molt_net_stop(uint64_t handle, uint32_t index, int64_t deadline);
int32_t molt_net_lost(uint64_t handle, uint32_t index);

/* thread_pool.c */
int32_t molt_pool_event(void);
int32_t molt_pool_find(const char *name);
int32_t molt_pool_call(uint32_t index, const uint64_t *arguments, uint32_t count, uint64_t token);
uint32_t molt_pool_take(struct molt_completion *completions, uint32_t room);

/* multifd.c */
struct molt_multifd;
int64_t molt_multifd_create(uint32_t compression, int32_t level);
void molt_multifd_destroy(struct molt_multifd *end);
uint64_t molt_multifd_error(const struct molt_multifd *end);

/* pages.c */
void molt_bitmap_take(uint64_t *source, uint64_t *target, uint64_t first, uint64_t end);

/* dirty.c */
int32_t molt_dirty_rings_harvest(int32_t vm, struct molt_dirty_ring *rings, uint32_t ring_count,
				 const struct molt_dirty_slot *slots, uint32_t slot_count);

#endif
