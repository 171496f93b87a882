/* A queue of virtio-blk and its workers (see virtio_blk_queue.h). */
#include "molt.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "thread.h"
#include "virtio_blk_queue.h"

/* Quick requests done before the driver hears of the first. */
#define QUIET_REQUESTS 16
/* A write that takes longer than this, in ns, is not quick: the next one does not hold the leader up. */
#define QUICK 50000

struct molt_disk_worker {
	struct molt_disk_queue *queue;
	pthread_t thread;
	struct molt_element element;
	struct iovec data[MOLT_QUEUE_MAXIMUM];
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void call_attention(struct molt_disk *disk)
{
	eventfd_write(disk->attention, 1);
}

/* Notes an error of the image. Returns what to do. */
static enum molt_disk_error_action note_error(struct molt_disk *disk,
					      const struct molt_disk_request *request, int error)
{
	enum molt_disk_operation operation = molt_disk_operation_of(request);
	uint32_t policy = operation == MOLT_DISK_READ ? disk->setup.read_error
						      : disk->setup.write_error;
	enum molt_disk_error_action action = policy;

	if (policy == MOLT_DISK_ENOSPC)
		action = error == ENOSPC ? MOLT_DISK_STOP : MOLT_DISK_REPORT;
	molt_disk_note_error(&disk->accounting, operation, action, error);
	call_attention(disk);
	return action;
}

static void notify_driver(struct molt_disk_queue *queue)
{
	if (queue->unnotified == 0)
		return;
	queue->unnotified = 0;
	molt_queue_notify(queue->ring);
}

/* Appends a request to those kept. The queue is locked. */
static void keep(struct molt_disk_queue *queue, struct molt_disk_kept *kept)
{
	struct molt_disk_kept **end = &queue->kept;

	while (*end)
		end = &(*end)->next;
	kept->next = NULL;
	*end = kept;
}

/* Returns a finished request, or keeps it after an error. The queue is locked. */
static void finish(struct molt_disk_queue *queue, const struct molt_element *element,
		   const struct molt_disk_request *request, int outcome)
{
	if (outcome < 0) {
		enum molt_disk_error_action action = note_error(queue->disk, request, -outcome);
		struct molt_disk_kept *kept =
			action == MOLT_DISK_STOP ? malloc(sizeof *kept) : NULL;

		if (kept) {
			kept->element = *element;
			keep(queue, kept);
			queue->running = false;
			return;
		}
		outcome = action == MOLT_DISK_IGNORE ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
	}
	*request->status = (uint8_t)outcome;
	molt_element_mark(queue->ring->memory, element, request->returned);
	molt_queue_push(queue->ring, element->head, molt_saturate(request->returned));
	queue->unnotified++;
}

static void give_up_lead(struct molt_disk_queue *queue);

/*
 * Serves the request in worker->element. The caller leads and has the lock; afterwards it has the lock
 * and perhaps leads no more.
 */
static void serve(struct molt_disk_worker *worker, bool *leading)
{
	struct molt_disk_queue *queue = worker->queue;
	struct molt_disk *disk = queue->disk;
	struct molt_disk_request request;

	if (!molt_disk_parse(&worker->element, worker->data, &request)) {
		molt_queue_fail(queue->ring, MOLT_QUEUE_REQUEST);
		return;
	}

	bool direct = disk->setup.image.flags & MOLT_IMAGE_DIRECT;
	bool writes = request.written && request.type == VIRTIO_BLK_T_IN;
	uint64_t began = now();
	int outcome = -EAGAIN;

	/* Cached reads can be recognized beforehand; writes are judged by the last one. */
	if (!direct && !(writes && queue->slow_writes)) {
		pthread_mutex_unlock(&queue->lock);
		outcome = molt_disk_perform(disk, &request, writes);
		pthread_mutex_lock(&queue->lock);
	}
	if (outcome == -EAGAIN) {
		notify_driver(queue);
		give_up_lead(queue);
		*leading = false;
		pthread_mutex_unlock(&queue->lock);
		outcome = molt_disk_perform(disk, &request, true);
		pthread_mutex_lock(&queue->lock);
	}

	uint64_t time = now() - began;

	if (writes)
		queue->slow_writes = time > QUICK;
	if (request.type != VIRTIO_BLK_T_GET_ID)
		molt_disk_account(&disk->accounting, molt_disk_operation_of(&request),
				  request.length, outcome, time);
	if (outcome == -EBADMSG)
		molt_queue_fail(queue->ring, MOLT_QUEUE_REQUEST);
	else
		finish(queue, &worker->element, &request, outcome);
	if (!*leading || queue->unnotified >= QUIET_REQUESTS)
		notify_driver(queue);
}

/* The next request: one kept from before, or one from the ring. As molt_queue_pop. */
static int next_request(struct molt_disk_queue *queue, struct molt_element *element)
{
	struct molt_disk_kept *kept = queue->kept;

	if (!kept)
		return molt_queue_pop(queue->ring, element);
	queue->kept = kept->next;
	*element = kept->element;
	free(kept);
	return 1;
}

/* Waits for the driver's notification, unless there are requests already. The lead stays. */
static void await_notification(struct molt_disk_queue *queue)
{
	uint64_t count;

	notify_driver(queue);
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

/* Starts another worker. The queue is locked. */
static int start_worker(struct molt_disk_queue *queue)
{
	struct molt_disk_worker *worker = malloc(sizeof *worker);

	if (!worker)
		return -ENOMEM;
	worker->queue = queue;

	int error = molt_thread_start(&worker->thread, "virtio-blk", work, worker);

	if (error) {
		free(worker);
		return error;
	}
	queue->workers[queue->count++] = worker;
	return 0;
}

static void give_up_lead(struct molt_disk_queue *queue)
{
	queue->led = false;
	/* Without another thread the requests wait for this one: slower, not wrong. */
	if (queue->idle == 0 && queue->count < MOLT_DISK_WORKERS_MAXIMUM)
		start_worker(queue);
	pthread_cond_signal(&queue->work);
}

/* Leads until it gave the lead away or the queue stops. The queue is locked. */
static void lead(struct molt_disk_worker *worker)
{
	struct molt_disk_queue *queue = worker->queue;
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
		notify_driver(queue);
		queue->led = false;
		pthread_cond_signal(&queue->work);
	}
	if (--queue->busy > 0)
		return;
	if (!queue->running)
		notify_driver(queue);
	pthread_cond_broadcast(&queue->quiet);
	if (queue->stopping) {
		queue->stopping = false;
		call_attention(queue->disk);
	}
}

static void *work(void *argument)
{
	struct molt_disk_worker *worker = argument;
	struct molt_disk_queue *queue = worker->queue;

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

int molt_disk_queue_init(struct molt_disk_queue *queue, struct molt_disk *disk,
			 struct molt_queue *ring, int kick)
{
	queue->disk = disk;
	queue->ring = ring;
	queue->kick = kick;
	/* The leader sleeps in read. */
	fcntl(kick, F_SETFL, fcntl(kick, F_GETFL) & ~O_NONBLOCK);
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->work, NULL);
	pthread_cond_init(&queue->quiet, NULL);
	/* A disk that is there can work: no guest finds out later that there was no thread for it. */
	return start_worker(queue);
}

/* Forgets the requests kept. The queue is locked, or nobody's but the caller's. */
static void forget(struct molt_disk_queue *queue)
{
	while (queue->kept) {
		struct molt_disk_kept *kept = queue->kept;

		queue->kept = kept->next;
		free(kept);
	}
}

void molt_disk_queue_end(struct molt_disk_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->ending = true;
	pthread_cond_broadcast(&queue->work);
	eventfd_write(queue->kick, 1);
	pthread_mutex_unlock(&queue->lock);
	for (uint32_t i = 0; i < queue->count; i++) {
		pthread_join(queue->workers[i]->thread, NULL);
		free(queue->workers[i]);
	}
	forget(queue);
	pthread_cond_destroy(&queue->work);
	pthread_cond_destroy(&queue->quiet);
	pthread_mutex_destroy(&queue->lock);
}

void molt_disk_queue_start(struct molt_disk_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->running = true;
	queue->stopping = false;
	pthread_cond_signal(&queue->work);
	pthread_mutex_unlock(&queue->lock);
}

bool molt_disk_queue_stop(struct molt_disk_queue *queue, int64_t deadline)
{
	struct timespec until = { deadline / 1000000000, deadline % 1000000000 };
	int error = 0;

	pthread_mutex_lock(&queue->lock);
	queue->running = false;
	while (queue->busy > 0 && error == 0) {
		eventfd_write(queue->kick, 1);
		error = pthread_cond_clockwait(&queue->quiet, &queue->lock, CLOCK_MONOTONIC,
					       &until);
	}
	queue->stopping = queue->busy > 0;

	bool stopped = !queue->stopping;

	if (stopped)
		notify_driver(queue);
	pthread_mutex_unlock(&queue->lock);
	return stopped;
}

bool molt_disk_queue_is_busy(struct molt_disk_queue *queue)
{
	pthread_mutex_lock(&queue->lock);

	bool busy = queue->busy > 0;

	pthread_mutex_unlock(&queue->lock);
	return busy;
}

void molt_disk_queue_keep(struct molt_disk_queue *queue, struct molt_disk_kept *kept)
{
	pthread_mutex_lock(&queue->lock);
	keep(queue, kept);
	pthread_mutex_unlock(&queue->lock);
}

void molt_disk_queue_forget(struct molt_disk_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	forget(queue);
	pthread_mutex_unlock(&queue->lock);
}
