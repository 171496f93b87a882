/*
 * The requests of virtio-blk (Virtual I/O Device specification 1.2, chapter 5.2): taken from the
 * queues, done on the image, returned, without TypeScript.
 *
 * Every queue has workers. One of them is the leader: it takes requests, and waits for the driver's
 * notification when there are none. A request that may take long is begun with the leadership given to
 * another worker, so that the next ones are looked at meanwhile; one that is known to be quick (in the
 * page cache) is done by the leader on the spot, which costs no switch between threads. The driver is
 * interrupted when there is nothing more to do at once, not for each of many quick requests.
 *
 * TypeScript starts and stops queues, and hears of faults and failed requests by an eventfd.
 */
#include "molt.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "block_image.h"
#include "iov.h"
#include "virtio_queue.h"

#define SECTOR 512
#define WORKERS_MAXIMUM 16
/* Quick requests done before the driver hears of the first. */
#define QUIET_REQUESTS 16
/* A write that takes longer than this, in ns, is not quick: the next one does not hold the leader up. */
#define QUICK 50000

#define TYPE_MODIFIERS (VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_BARRIER)

/* What happens when a request fails. */
enum error_action { ACTION_REPORT = 0, ACTION_IGNORE = 1, ACTION_ENOSPC = 2, ACTION_STOP = 3 };

/* What TypeScript says of the disk. */
struct molt_disk_setup {
	struct molt_image image;
	uint32_t sector; /* logical block size */
	uint32_t read_only;
	uint32_t read_error; /* enum error_action */
	uint32_t write_error;
	uint32_t discard_maximum; /* sectors of 512 bytes */
	uint32_t write_zeroes_maximum;
	char serial[VIRTIO_BLK_ID_BYTES];
	uint32_t reserved;
};
_Static_assert(sizeof(struct molt_disk_setup) == 88, "src/native/disk.ts lays it out");

/* What was done so far, in QEMU's classes of operations. */
struct molt_disk_statistics {
	_Atomic uint64_t bytes[4];
	_Atomic uint64_t operations[4];
	_Atomic uint64_t failed[4];
	_Atomic uint64_t invalid[4];
	_Atomic uint64_t time[4]; /* ns */
};

enum operation { OPERATION_READ = 0, OPERATION_WRITE = 1, OPERATION_FLUSH = 2, OPERATION_UNMAP = 3 };

/* A failed request, as TypeScript hears of it. */
struct molt_disk_error {
	uint32_t operation; /* enum operation */
	uint32_t action; /* ACTION_REPORT, ACTION_IGNORE or ACTION_STOP */
	int32_t error; /* errno */
	uint32_t reserved;
};

#define ERRORS_KEPT 16

/* A request kept after an error until the machine goes on. */
struct kept {
	struct kept *next;
	struct molt_element element;
};

struct worker {
	struct queue *queue;
	pthread_t thread;
	struct molt_element element;
	struct iovec data[MOLT_QUEUE_MAXIMUM];
};

struct queue {
	struct disk *disk;
	struct molt_queue *ring;
	int kick; /* the driver's notifications: a blocking eventfd */
	pthread_mutex_t lock;
	pthread_cond_t work; /* there is something to lead, or it is time to end */
	pthread_cond_t quiet; /* the last request under way is done */
	bool running;
	bool ending;
	bool led; /* some worker is the leader */
	bool slow_writes; /* the last write took long */
	uint32_t busy; /* workers with a request in hand, or in the ring */
	uint32_t idle; /* workers that wait to lead */
	uint32_t unheard; /* requests returned that the driver was not told of */
	uint32_t count;
	struct kept *kept; /* oldest first */
	struct worker *workers[WORKERS_MAXIMUM];
};

struct disk {
	struct molt_disk_setup setup;
	struct molt_memory *memory;
	int attention; /* eventfd: TypeScript is to look */
	_Atomic bool write_cache;
	struct molt_disk_statistics statistics;
	pthread_mutex_t lock; /* of the errors */
	uint32_t error_count;
	struct molt_disk_error errors[ERRORS_KEPT];
	uint32_t queue_count;
	struct queue queues[];
};

/* A request taken apart. */
struct request {
	uint32_t type; /* without modifiers */
	uint64_t sector;
	bool written; /* of a kind that writes */
	uint8_t *status;
	struct iovec *data; /* without header and status */
	uint32_t count;
	uint64_t length;
	uint64_t returned; /* bytes of all buffers to be written */
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void call_attention(struct disk *disk)
{
	eventfd_write(disk->attention, 1);
}

static enum operation operation_of(const struct request *request)
{
	switch (request->type) {
	case VIRTIO_BLK_T_FLUSH:
		return OPERATION_FLUSH;
	case VIRTIO_BLK_T_DISCARD & ~TYPE_MODIFIERS:
		return OPERATION_UNMAP;
	default:
		return request->written ? OPERATION_WRITE : OPERATION_READ;
	}
}

/* Finds header, data and status. False: the chain is no request. */
static bool parse(struct molt_element *element, struct iovec *data, struct request *request)
{
	struct virtio_blk_outhdr header;
	struct iovec *out = data;
	struct iovec *in = data + element->out_count;

	memcpy(data, element->iov, (element->out_count + element->in_count) * sizeof *data);
	if (element->in_count == 0 ||
	    molt_iov_read(out, element->out_count, &header, sizeof header) != sizeof header)
		return false;

	uint32_t out_count = molt_iov_skip(&out, element->out_count, sizeof header);
	struct iovec *last = &in[element->in_count - 1];

	request->returned = molt_iov_length(in, element->in_count);
	last->iov_len--;
	request->status = (uint8_t *)last->iov_base + last->iov_len;
	request->written = header.type & VIRTIO_BLK_T_OUT;
	request->type = header.type & ~TYPE_MODIFIERS;
	request->sector = header.sector;
	if (request->written) {
		request->data = out;
		request->count = out_count;
	} else {
		request->data = in;
		request->count = element->in_count - (last->iov_len == 0);
	}
	request->length = molt_iov_length(request->data, request->count);
	return true;
}

static bool in_range(const struct disk *disk, uint64_t sector, uint64_t length)
{
	uint64_t size = disk->setup.image.size;

	return sector <= size / SECTOR && length <= size - sector * SECTOR &&
	       (sector * SECTOR | length) % disk->setup.sector == 0;
}

/* The requests below return a status of virtio-blk, or -errno of the image. */

static int read_or_write(struct disk *disk, const struct request *request, bool wait)
{
	const struct molt_image *image = &disk->setup.image;
	uint64_t offset = request->sector * SECTOR;

	if (!in_range(disk, request->sector, request->length) ||
	    (request->written && disk->setup.read_only))
		return VIRTIO_BLK_S_IOERR;
	return request->written
		? molt_image_write(image, request->data, request->count, offset,
				   !atomic_load(&disk->write_cache))
		: molt_image_read(image, request->data, request->count, offset, wait);
}

static int identify(const struct disk *disk, const struct request *request)
{
	uint64_t length = strnlen(disk->setup.serial, VIRTIO_BLK_ID_BYTES);

	/* Its end is marked only if there is room. */
	if (length < VIRTIO_BLK_ID_BYTES)
		length++;
	molt_iov_write(request->data, request->count, disk->setup.serial, length);
	return VIRTIO_BLK_S_OK;
}

/* Discard and write zeroes. -EBADMSG: the segment is too short to be one. */
static int discard_or_zero(struct disk *disk, const struct request *request)
{
	bool discard = operation_of(request) == OPERATION_UNMAP;
	struct virtio_blk_discard_write_zeroes segment;

	if (!request->written || request->length > sizeof segment)
		return VIRTIO_BLK_S_UNSUPP;
	if (molt_iov_read(request->data, request->count, &segment, sizeof segment) !=
	    sizeof segment)
		return -EBADMSG;

	uint64_t length = (uint64_t)segment.num_sectors * SECTOR;
	uint32_t most = discard ? disk->setup.discard_maximum : disk->setup.write_zeroes_maximum;

	if (segment.flags & ~(uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP ||
	    (discard && segment.flags != 0))
		return VIRTIO_BLK_S_UNSUPP;
	if (segment.num_sectors > most || !in_range(disk, segment.sector, length) ||
	    disk->setup.read_only)
		return VIRTIO_BLK_S_IOERR;
	if (discard)
		return molt_image_discard(&disk->setup.image, segment.sector * SECTOR, length);

	int error = molt_image_write_zeroes(&disk->setup.image, segment.sector * SECTOR, length,
					    segment.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);

	return error || atomic_load(&disk->write_cache) ? error
							: molt_image_flush(&disk->setup.image);
}

/* Does the request. `wait` false: -EAGAIN if that may take long. */
static int perform(struct disk *disk, const struct request *request, bool wait)
{
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		return read_or_write(disk, request, wait);
	case VIRTIO_BLK_T_FLUSH:
		return wait ? molt_image_flush(&disk->setup.image) : -EAGAIN;
	case VIRTIO_BLK_T_GET_ID:
		return identify(disk, request);
	case VIRTIO_BLK_T_DISCARD & ~TYPE_MODIFIERS:
	case VIRTIO_BLK_T_WRITE_ZEROES & ~TYPE_MODIFIERS:
		return wait ? discard_or_zero(disk, request) : -EAGAIN;
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

static void account(struct disk *disk, const struct request *request, int outcome, uint64_t began)
{
	struct molt_disk_statistics *statistics = &disk->statistics;
	enum operation operation = operation_of(request);

	if (request->type == VIRTIO_BLK_T_GET_ID)
		return;
	if (outcome < 0) {
		atomic_fetch_add(&statistics->failed[operation], 1);
	} else if (outcome != VIRTIO_BLK_S_OK) {
		atomic_fetch_add(&statistics->invalid[operation], 1);
	} else {
		atomic_fetch_add(&statistics->operations[operation], 1);
		if (operation <= OPERATION_WRITE)
			atomic_fetch_add(&statistics->bytes[operation], request->length);
		atomic_fetch_add(&statistics->time[operation], now() - began);
	}
}

/* Notes an error of the image. Returns what to do. */
static enum error_action note_error(struct disk *disk, const struct request *request, int error)
{
	enum operation operation = operation_of(request);
	uint32_t policy = operation == OPERATION_READ ? disk->setup.read_error
						      : disk->setup.write_error;
	enum error_action action = policy;

	if (policy == ACTION_ENOSPC)
		action = error == ENOSPC ? ACTION_STOP : ACTION_REPORT;
	pthread_mutex_lock(&disk->lock);
	if (disk->error_count < ERRORS_KEPT)
		disk->errors[disk->error_count++] =
			(struct molt_disk_error){ operation, action, error, 0 };
	pthread_mutex_unlock(&disk->lock);
	call_attention(disk);
	return action;
}

static void tell_driver(struct queue *queue)
{
	if (queue->unheard == 0)
		return;
	queue->unheard = 0;
	molt_queue_interrupt(queue->ring);
}

/* Appends a request that failed. The queue is locked. */
static void keep(struct queue *queue, const struct molt_element *element, struct kept *kept)
{
	struct kept **end = &queue->kept;

	while (*end)
		end = &(*end)->next;
	kept->next = NULL;
	kept->element = *element;
	*end = kept;
}

/* Returns a finished request, or keeps it after an error. The queue is locked. */
static void finish(struct queue *queue, const struct molt_element *element,
		   const struct request *request, int outcome)
{
	if (outcome < 0) {
		enum error_action action = note_error(queue->disk, request, -outcome);
		struct kept *kept = action == ACTION_STOP ? malloc(sizeof *kept) : NULL;

		if (kept) {
			keep(queue, element, kept);
			queue->running = false;
			return;
		}
		outcome = action == ACTION_IGNORE ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
	}
	*request->status = (uint8_t)outcome;
	molt_element_mark(queue->ring->memory, element, request->returned);
	molt_queue_push(queue->ring, element->head, (uint32_t)request->returned);
	queue->unheard++;
}

static void give_up_lead(struct queue *queue);

/*
 * Serves the request in worker->element. The caller leads and has the lock; afterwards it has the lock
 * and perhaps leads no more.
 */
static void serve(struct worker *worker, bool *leading)
{
	struct queue *queue = worker->queue;
	struct disk *disk = queue->disk;
	struct request request;

	if (!parse(&worker->element, worker->data, &request)) {
		molt_queue_fail(queue->ring, MOLT_QUEUE_REQUEST);
		return;
	}

	bool direct = disk->setup.image.flags & MOLT_IMAGE_DIRECT;
	bool writes = request.written && request.type == VIRTIO_BLK_T_IN;
	uint64_t began = now();
	int outcome = -EAGAIN;

	/* Cached reads can be told beforehand; writes are judged by the last one. */
	if (!direct && !(writes && queue->slow_writes)) {
		pthread_mutex_unlock(&queue->lock);
		outcome = perform(disk, &request, writes);
		pthread_mutex_lock(&queue->lock);
	}
	if (outcome == -EAGAIN) {
		tell_driver(queue);
		give_up_lead(queue);
		*leading = false;
		pthread_mutex_unlock(&queue->lock);
		outcome = perform(disk, &request, true);
		pthread_mutex_lock(&queue->lock);
	}
	if (writes)
		queue->slow_writes = now() - began > QUICK;
	account(disk, &request, outcome, began);
	if (outcome == -EBADMSG)
		molt_queue_fail(queue->ring, MOLT_QUEUE_REQUEST);
	else
		finish(queue, &worker->element, &request, outcome);
	if (!*leading || queue->unheard >= QUIET_REQUESTS)
		tell_driver(queue);
}

/* The next request: one kept from before, or one from the ring. As molt_queue_pop. */
static int next_request(struct queue *queue, struct molt_element *element)
{
	struct kept *kept = queue->kept;

	if (!kept)
		return molt_queue_pop(queue->ring, element);
	queue->kept = kept->next;
	*element = kept->element;
	free(kept);
	return 1;
}

/* Waits for the driver's notification, unless there are requests already. The lead stays. */
static void await_notification(struct queue *queue)
{
	uint64_t count;

	tell_driver(queue);
	if (molt_queue_enable_notifications(queue->ring))
		return;
	pthread_mutex_unlock(&queue->lock);

	ssize_t got = read(queue->kick, &count, sizeof count);

	(void)got; /* whatever woke it, the queue says what there is to do */
	pthread_mutex_lock(&queue->lock);
	if (queue->running)
		molt_queue_disable_notifications(queue->ring);
}

static void *work(void *argument);

/* Starts another worker with all signals blocked: they are Deno's. The queue is locked. */
static int start_worker(struct queue *queue)
{
	struct worker *worker = malloc(sizeof *worker);
	sigset_t blocked, before;

	if (!worker)
		return -ENOMEM;
	worker->queue = queue;
	sigfillset(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);

	int error = pthread_create(&worker->thread, NULL, work, worker);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error) {
		free(worker);
		return -error;
	}
	pthread_setname_np(worker->thread, "virtio-blk");
	queue->workers[queue->count++] = worker;
	return 0;
}

static void give_up_lead(struct queue *queue)
{
	queue->led = false;
	/* Without another thread the requests wait for this one: slower, not wrong. */
	if (queue->idle == 0 && queue->count < WORKERS_MAXIMUM)
		start_worker(queue);
	pthread_cond_signal(&queue->work);
}

/* Leads until it gave the lead away or the queue stops. The queue is locked. */
static void lead(struct worker *worker)
{
	struct queue *queue = worker->queue;
	bool leading = true;

	queue->led = true;
	queue->busy++;
	while (leading && queue->running && !queue->ending) {
		int outcome = next_request(queue, &worker->element);

		if (outcome > 0)
			serve(worker, &leading);
		else if (outcome == 0)
			await_notification(queue);
		if (queue->ring->fault) {
			queue->running = false;
			call_attention(queue->disk);
		}
	}
	if (leading) {
		tell_driver(queue);
		queue->led = false;
		pthread_cond_signal(&queue->work);
	}
	if (--queue->busy == 0)
		pthread_cond_broadcast(&queue->quiet);
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct queue *queue = worker->queue;

	pthread_mutex_lock(&queue->lock);
	while (!queue->ending) {
		if (queue->running && !queue->led) {
			lead(worker);
		} else {
			queue->idle++;
			pthread_cond_wait(&queue->work, &queue->lock);
			queue->idle--;
		}
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

/*
 * A disk with `count` queues: `rings` holds their handles, `kicks` their notifications' descriptors.
 * Faults and errors are told by the eventfd `attention`. Nothing moves before molt_disk_start.
 * Returns the disk's handle, or -errno.
 */
MOLT_EXPORT int64_t molt_disk_create(uint64_t memory, const struct molt_disk_setup *setup,
				     const uint64_t *rings, const int32_t *kicks, uint32_t count,
				     int32_t attention)
{
	struct disk *disk = calloc(1, sizeof *disk + count * sizeof disk->queues[0]);

	if (!disk)
		return -ENOMEM;
	disk->setup = *setup;
	disk->memory = (void *)(uintptr_t)memory;
	disk->attention = attention;
	disk->queue_count = count;
	atomic_store(&disk->write_cache, true);
	pthread_mutex_init(&disk->lock, NULL);
	for (uint32_t i = 0; i < count; i++) {
		struct queue *queue = &disk->queues[i];

		queue->disk = disk;
		queue->ring = (void *)(uintptr_t)rings[i];
		queue->kick = kicks[i];
		/* The leader sleeps in read. */
		fcntl(queue->kick, F_SETFL, fcntl(queue->kick, F_GETFL) & ~O_NONBLOCK);
		pthread_mutex_init(&queue->lock, NULL);
		pthread_cond_init(&queue->work, NULL);
		pthread_cond_init(&queue->quiet, NULL);
	}
	return (int64_t)(uintptr_t)disk;
}

/* Lets queue `index` work; its ring has been started. Returns 0 or -errno. */
MOLT_EXPORT int32_t molt_disk_start(uint64_t handle, uint32_t index)
{
	struct queue *queue = &((struct disk *)(uintptr_t)handle)->queues[index];
	int error = 0;

	pthread_mutex_lock(&queue->lock);
	if (queue->count == 0)
		error = start_worker(queue);
	queue->running = !error;
	pthread_cond_signal(&queue->work);
	pthread_mutex_unlock(&queue->lock);
	return error;
}

/* Ends the work of queue `index`: returns when no request is under way. Its ring may be ended then. */
MOLT_EXPORT void molt_disk_stop(uint64_t handle, uint32_t index)
{
	struct queue *queue = &((struct disk *)(uintptr_t)handle)->queues[index];

	pthread_mutex_lock(&queue->lock);
	queue->running = false;
	while (queue->busy > 0) {
		eventfd_write(queue->kick, 1);
		pthread_cond_wait(&queue->quiet, &queue->lock);
	}
	tell_driver(queue);
	pthread_mutex_unlock(&queue->lock);
}

/* Stops everything and frees the disk. */
MOLT_EXPORT void molt_disk_destroy(uint64_t handle)
{
	struct disk *disk = (void *)(uintptr_t)handle;

	for (uint32_t i = 0; i < disk->queue_count; i++) {
		struct queue *queue = &disk->queues[i];

		pthread_mutex_lock(&queue->lock);
		queue->ending = true;
		pthread_cond_broadcast(&queue->work);
		eventfd_write(queue->kick, 1);
		pthread_mutex_unlock(&queue->lock);
		for (uint32_t j = 0; j < queue->count; j++) {
			pthread_join(queue->workers[j]->thread, NULL);
			free(queue->workers[j]);
		}
		while (queue->kept) {
			struct kept *kept = queue->kept;

			queue->kept = kept->next;
			free(kept);
		}
		pthread_cond_destroy(&queue->work);
		pthread_cond_destroy(&queue->quiet);
		pthread_mutex_destroy(&queue->lock);
	}
	pthread_mutex_destroy(&disk->lock);
	free(disk);
}

/* Whether writes may stay in the host's cache until a flush. */
MOLT_EXPORT void molt_disk_set_write_cache(uint64_t handle, uint32_t on)
{
	atomic_store(&((struct disk *)(uintptr_t)handle)->write_cache, on != 0);
}

/* Takes the image's size over after it changed. The disk must be stopped. */
MOLT_EXPORT void molt_disk_set_size(uint64_t handle, uint64_t size)
{
	((struct disk *)(uintptr_t)handle)->setup.image.size = size;
}

/* Takes the errors noted since the last call. Returns how many: at most ERRORS_KEPT. */
MOLT_EXPORT uint32_t molt_disk_errors(uint64_t handle, struct molt_disk_error *errors)
{
	struct disk *disk = (void *)(uintptr_t)handle;

	pthread_mutex_lock(&disk->lock);

	uint32_t count = disk->error_count;

	memcpy(errors, disk->errors, count * sizeof *errors);
	disk->error_count = 0;
	pthread_mutex_unlock(&disk->lock);
	return count;
}

MOLT_EXPORT void molt_disk_read_statistics(uint64_t handle, uint64_t *values)
{
	struct disk *disk = (void *)(uintptr_t)handle;

	memcpy(values, &disk->statistics, sizeof disk->statistics);
}

/* Copies the `nth` request kept in queue `index`, which is stopped. Returns 1, or 0: no more. */
MOLT_EXPORT int32_t molt_disk_kept(uint64_t handle, uint32_t index, uint32_t nth, void *request)
{
	struct kept *kept = ((struct disk *)(uintptr_t)handle)->queues[index].kept;

	while (kept && nth-- > 0)
		kept = kept->next;
	if (!kept)
		return 0;
	memcpy(request, &kept->element,
	       16 + (kept->element.out_count + kept->element.in_count) * sizeof(struct molt_buffer));
	return 1;
}

/*
 * Adds a request to those kept in queue `index`, which is stopped: `buffers` of which the first
 * `out_count` are to be read. Returns 0, -ENOMEM, or -EFAULT if a buffer is not in RAM.
 */
MOLT_EXPORT int32_t molt_disk_keep(uint64_t handle, uint32_t index, uint32_t head,
				   const struct molt_buffer *buffers, uint32_t out_count,
				   uint32_t in_count)
{
	struct disk *disk = (void *)(uintptr_t)handle;
	struct kept *kept = calloc(1, sizeof *kept);

	if (!kept)
		return -ENOMEM;
	kept->element.head = head;
	for (uint32_t i = 0; i < out_count + in_count; i++) {
		if (molt_element_add(disk->memory, &kept->element, buffers[i].address,
				     buffers[i].length, i >= out_count)) {
			free(kept);
			return -EFAULT;
		}
	}

	struct molt_element element = kept->element;

	pthread_mutex_lock(&disk->queues[index].lock);
	keep(&disk->queues[index], &element, kept);
	pthread_mutex_unlock(&disk->queues[index].lock);
	return 0;
}

/* Forgets the requests kept in queue `index`: the device was reset. */
MOLT_EXPORT void molt_disk_forget(uint64_t handle, uint32_t index)
{
	struct queue *queue = &((struct disk *)(uintptr_t)handle)->queues[index];

	pthread_mutex_lock(&queue->lock);
	while (queue->kept) {
		struct kept *kept = queue->kept;

		queue->kept = kept->next;
		free(kept);
	}
	pthread_mutex_unlock(&queue->lock);
}
