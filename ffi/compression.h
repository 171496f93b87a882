#ifndef MOLT_COMPRESSION_H
#define MOLT_COMPRESSION_H

#include <stddef.h>
#include <stdint.h>

/*
 * A continuous stream of compressed data in one direction, cut at flush points: what was put in before
 * one comes out before it. By zlib or zstd, which are looked for on the host when they are needed
 * first (libz.so.1, libzstd.so.1).
 */
struct molt_codec;

enum molt_compression {
	MOLT_COMPRESSION_NONE = 0,
	MOLT_COMPRESSION_ZLIB = 1,
	MOLT_COMPRESSION_ZSTD = 2,
};

/*
 * A compressor of `level`, or a decompressor (level -1). -ELIBACC: the library is not there; -ENOMEM.
 */
int32_t molt_codec_create(enum molt_compression compression, int32_t level,
			  struct molt_codec **codec);

void molt_codec_destroy(struct molt_codec *codec);

/* Room that is enough for `length` bytes compressed. */
uint32_t molt_codec_bound(uint32_t length);

/* Compresses all of `input` and flushes. Returns the bytes in `output`, or -EIO. */
int64_t molt_codec_compress(struct molt_codec *codec, const void *input, uint32_t length,
			    void *output, uint32_t room);

/* Decompresses all of `input`, which must fill `output` exactly. 0 or -EBADMSG. */
int32_t molt_codec_decompress(struct molt_codec *codec, const void *input, uint32_t length,
			      void *output, uint32_t expected);

#endif
