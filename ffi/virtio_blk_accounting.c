/* What a disk has done and what failed (see virtio_blk_accounting.h). */
#include "molt.h"

#include <linux/virtio_blk.h>
#include <string.h>

#include "virtio_blk_accounting.h"

void molt_disk_account(struct molt_disk_accounting *accounting, enum molt_disk_operation operation,
		       uint64_t bytes, int outcome, uint64_t time)
{
	struct molt_disk_statistics *statistics = &accounting->statistics;

	if (outcome < 0) {
		atomic_fetch_add(&statistics->failed[operation], 1);
	} else if (outcome != VIRTIO_BLK_S_OK) {
		atomic_fetch_add(&statistics->invalid[operation], 1);
	} else {
		atomic_fetch_add(&statistics->operations[operation], 1);
		if (operation <= MOLT_DISK_WRITE)
			atomic_fetch_add(&statistics->bytes[operation], bytes);
		atomic_fetch_add(&statistics->time[operation], time);
	}
}

void molt_disk_note_error(struct molt_disk_accounting *accounting,
			  enum molt_disk_operation operation, enum molt_disk_error_action action,
			  int error)
{
	pthread_mutex_lock(&accounting->lock);
	if (accounting->error_count < MOLT_DISK_ERRORS_KEPT)
		accounting->errors[accounting->error_count++] =
			(struct molt_disk_error){ operation, action, error, 0 };
	pthread_mutex_unlock(&accounting->lock);
}

uint32_t molt_disk_take_errors(struct molt_disk_accounting *accounting,
			       struct molt_disk_error *errors)
{
	pthread_mutex_lock(&accounting->lock);

	uint32_t count = accounting->error_count;

	memcpy(errors, accounting->errors, count * sizeof *errors);
	accounting->error_count = 0;
	pthread_mutex_unlock(&accounting->lock);
	return count;
}
