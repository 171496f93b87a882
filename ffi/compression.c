/*
 * zlib and zstd without their headers: what is declared here is their stable binary interface
 * (zlib.h since 1.2, zstd.h since 1.4).
 */
#include "molt.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>

#include "compression.h"

/* struct z_stream_s of zlib.h. */
struct zlib_stream {
	const void *next_in;
	unsigned int avail_in;
	unsigned long total_in;
	void *next_out;
	unsigned int avail_out;
	unsigned long total_out;
	const char *message;
	void *state;
	void *allocate;
	void *release;
	void *opaque;
	int data_type;
	unsigned long adler;
	unsigned long reserved;
};

enum { ZLIB_OK = 0, ZLIB_BUFFER_ERROR = -5, ZLIB_SYNC_FLUSH = 2 };

static struct {
	int (*deflate_init)(struct zlib_stream *, int level, const char *version, int size);
	int (*deflate)(struct zlib_stream *, int flush);
	int (*deflate_end)(struct zlib_stream *);
	int (*inflate_init)(struct zlib_stream *, const char *version, int size);
	int (*inflate)(struct zlib_stream *, int flush);
	int (*inflate_end)(struct zlib_stream *);
} zlib;

/* ZSTD_inBuffer and ZSTD_outBuffer of zstd.h. */
struct zstd_buffer {
	void *memory;
	size_t size;
	size_t position;
};

enum { ZSTD_LEVEL = 100, ZSTD_FLUSH = 1 };

static struct {
	void *(*create_compressor)(void);
	size_t (*free_compressor)(void *);
	size_t (*set_parameter)(void *, int parameter, int value);
	size_t (*compress)(void *, struct zstd_buffer *output, struct zstd_buffer *input, int end);
	void *(*create_decompressor)(void);
	size_t (*free_decompressor)(void *);
	size_t (*decompress)(void *, struct zstd_buffer *output, struct zstd_buffer *input);
	unsigned int (*is_error)(size_t);
} zstd;

struct entry {
	void *function; /* address of the pointer to set */
	const char *name;
};

/* Sets all pointers, or none of the library is used. */
static int32_t load(const char *file, const struct entry *entries, size_t count)
{
	void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);

	for (size_t i = 0; library && i < count; i++) {
		void *address = dlsym(library, entries[i].name);

		if (!address)
			return -ELIBACC;
		*(void **)entries[i].function = address;
	}
	return library ? 0 : -ELIBACC;
}

static int32_t load_zlib(void)
{
	const struct entry entries[] = {
		{ &zlib.deflate_init, "deflateInit_" }, { &zlib.deflate, "deflate" },
		{ &zlib.deflate_end, "deflateEnd" },	{ &zlib.inflate_init, "inflateInit_" },
		{ &zlib.inflate, "inflate" },		{ &zlib.inflate_end, "inflateEnd" },
	};

	return load("libz.so.1", entries, sizeof entries / sizeof entries[0]);
}

static int32_t load_zstd(void)
{
	const struct entry entries[] = {
		{ &zstd.create_compressor, "ZSTD_createCCtx" },
		{ &zstd.free_compressor, "ZSTD_freeCCtx" },
		{ &zstd.set_parameter, "ZSTD_CCtx_setParameter" },
		{ &zstd.compress, "ZSTD_compressStream2" },
		{ &zstd.create_decompressor, "ZSTD_createDCtx" },
		{ &zstd.free_decompressor, "ZSTD_freeDCtx" },
		{ &zstd.decompress, "ZSTD_decompressStream" },
		{ &zstd.is_error, "ZSTD_isError" },
	};

	return load("libzstd.so.1", entries, sizeof entries / sizeof entries[0]);
}

struct molt_codec {
	enum molt_compression compression;
	int32_t level; /* -1: decompresses */
	struct zlib_stream zlib;
	void *zstd;
};

static int32_t start_zlib(struct molt_codec *codec)
{
	const char *version = "1";
	int size = (int)sizeof codec->zlib;
	int outcome = codec->level < 0 ?
			      zlib.inflate_init(&codec->zlib, version, size) :
			      zlib.deflate_init(&codec->zlib, codec->level, version, size);

	return outcome == ZLIB_OK ? 0 : -ENOMEM;
}

static int32_t start_zstd(struct molt_codec *codec)
{
	codec->zstd = codec->level < 0 ? zstd.create_decompressor() : zstd.create_compressor();
	if (!codec->zstd)
		return -ENOMEM;
	if (codec->level >= 0)
		zstd.set_parameter(codec->zstd, ZSTD_LEVEL, codec->level);
	return 0;
}

int32_t molt_codec_create(enum molt_compression compression, int32_t level,
			  struct molt_codec **codec)
{
	bool is_zlib = compression == MOLT_COMPRESSION_ZLIB;
	int32_t error = is_zlib ? load_zlib() : load_zstd();

	if (error)
		return error;
	*codec = calloc(1, sizeof **codec);
	if (!*codec)
		return -ENOMEM;
	(*codec)->compression = compression;
	(*codec)->level = level;
	error = is_zlib ? start_zlib(*codec) : start_zstd(*codec);
	if (error)
		free(*codec);
	return error;
}

void molt_codec_destroy(struct molt_codec *codec)
{
	if (codec->compression == MOLT_COMPRESSION_ZLIB) {
		if (codec->level < 0)
			zlib.inflate_end(&codec->zlib);
		else
			zlib.deflate_end(&codec->zlib);
	} else if (codec->level < 0) {
		zstd.free_decompressor(codec->zstd);
	} else {
		zstd.free_compressor(codec->zstd);
	}
	free(codec);
}

uint32_t molt_codec_bound(uint32_t length)
{
	/* More than either library asks for, with its flush markers and frame headers. */
	return length + length / 128 + 4096;
}

static int64_t deflate_all(struct molt_codec *codec, const void *input, uint32_t length, void *output,
			   uint32_t room)
{
	struct zlib_stream *stream = &codec->zlib;

	stream->next_in = input;
	stream->avail_in = length;
	stream->next_out = output;
	stream->avail_out = room;

	int outcome = zlib.deflate(stream, ZLIB_SYNC_FLUSH);

	if (outcome != ZLIB_OK || stream->avail_in > 0 || stream->avail_out == 0)
		return -EIO;
	return (int64_t)(room - stream->avail_out);
}

int64_t molt_codec_compress(struct molt_codec *codec, const void *input, uint32_t length,
			    void *output, uint32_t room)
{
	if (codec->compression == MOLT_COMPRESSION_ZLIB)
		return deflate_all(codec, input, length, output, room);

	struct zstd_buffer from = { (void *)(uintptr_t)input, length, 0 };
	struct zstd_buffer to = { output, room, 0 };
	size_t left;

	do
		left = zstd.compress(codec->zstd, &to, &from, ZSTD_FLUSH);
	while (!zstd.is_error(left) && left > 0 && to.position < to.size);
	return zstd.is_error(left) || left > 0 ? -EIO : (int64_t)to.position;
}

static int32_t inflate_all(struct molt_codec *codec, const void *input, uint32_t length, void *output,
			   uint32_t expected)
{
	struct zlib_stream *stream = &codec->zlib;
	int outcome;

	stream->next_in = input;
	stream->avail_in = length;
	stream->next_out = output;
	stream->avail_out = expected;
	do
		outcome = zlib.inflate(stream, ZLIB_SYNC_FLUSH);
	while (outcome == ZLIB_OK && stream->avail_in > 0 && stream->avail_out > 0);
	/* The flush marker may lie behind the last byte that comes out. */
	if (outcome == ZLIB_OK && stream->avail_in > 0) {
		uint8_t excess;

		stream->next_out = &excess;
		stream->avail_out = 1;
		outcome = zlib.inflate(stream, ZLIB_SYNC_FLUSH);
		if (stream->avail_out == 0)
			return -EBADMSG;
		stream->avail_out = 0;
	}
	return (outcome == ZLIB_OK || outcome == ZLIB_BUFFER_ERROR) && stream->avail_in == 0 &&
			       stream->avail_out == 0 ?
		       0 :
		       -EBADMSG;
}

int32_t molt_codec_decompress(struct molt_codec *codec, const void *input, uint32_t length,
			      void *output, uint32_t expected)
{
	if (codec->compression == MOLT_COMPRESSION_ZLIB)
		return inflate_all(codec, input, length, output, expected);

	struct zstd_buffer from = { (void *)(uintptr_t)input, length, 0 };
	struct zstd_buffer to = { output, expected, 0 };
	size_t before, outcome;

	do {
		before = from.position + to.position;
		outcome = zstd.decompress(codec->zstd, &to, &from);
	} while (!zstd.is_error(outcome) && from.position + to.position > before);
	return !zstd.is_error(outcome) && from.position == length && to.position == expected ?
		       0 :
		       -EBADMSG;
}
