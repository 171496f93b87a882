/* Bytes that lie in several buffers (see iov.h). */
#include "molt.h"

#include <string.h>

#include "iov.h"

uint64_t molt_iov_read(const struct iovec *iov, uint32_t count, void *bytes, uint64_t length)
{
	uint64_t done = 0;

	for (uint32_t i = 0; i < count && done < length; i++) {
		uint64_t piece = iov[i].iov_len < length - done ? iov[i].iov_len : length - done;

		memcpy((uint8_t *)bytes + done, iov[i].iov_base, piece);
		done += piece;
	}
	return done;
}

uint64_t molt_iov_write(const struct iovec *iov, uint32_t count, const void *bytes,
			uint64_t length)
{
	uint64_t done = 0;

	for (uint32_t i = 0; i < count && done < length; i++) {
		uint64_t piece = iov[i].iov_len < length - done ? iov[i].iov_len : length - done;

		memcpy(iov[i].iov_base, (const uint8_t *)bytes + done, piece);
		done += piece;
	}
	return done;
}

uint32_t molt_iov_skip(struct iovec **iov, uint32_t count, uint64_t length)
{
	while (count > 0 && length >= (*iov)->iov_len) {
		length -= (*iov)->iov_len;
		(*iov)++;
		count--;
	}
	if (length > 0) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + length;
		(*iov)->iov_len -= length;
	}
	return count;
}

uint64_t molt_iov_length(const struct iovec *iov, uint32_t count)
{
	uint64_t length = 0;

	for (uint32_t i = 0; i < count; i++)
		length += iov[i].iov_len;
	return length;
}
