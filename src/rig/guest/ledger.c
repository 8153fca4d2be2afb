/*
 * ledger: the workload of the test guest, made to prove what survives a failover.
 *
 * It appends 4 KiB records to a block device (or file), each carrying the checksum of the one before it, and calls
 * fdatasync after each. After a failover the chain therefore tells exactly which records are there, and whether any
 * record that a client saw acknowledged is missing, torn or out of order.
 *
 *   0                                      half                                end
 *   | record 0 | record 1 | ... | (unused) | fill area: pseudo-random bytes    |
 *
 * HTTP on :8080, every answer is JSON:
 *   GET /              state: see state_json()
 *   GET /pause         stops appending; answers when the last record is on disk, so `seq` is final
 *   GET /resume        goes on appending
 *   GET /rate/N        waits N milliseconds between records (0 = as fast as the disk allows)
 *   GET /record/N      the record N as it is on disk now
 *   GET /fill/M/SEED   writes M MiB of the pseudo-random stream SEED to the fill area, with fdatasync, then answers
 *   GET /check/M/SEED  reads the fill area back and compares it with that stream
 *
 * The chain found at boot is verified while HTTP already answers (`verifying` is true until then), because the time
 * to first answer is what a failover test measures.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_BYTES = 4096, CHUNK_BYTES = 1 << 20, PORT = 8080, DEFAULT_INTERVAL_MS = 20 };
#define MAGIC "LEDGER02"

typedef unsigned long long u64;

typedef struct {
  char magic[8];
  uint64_t seq, at_ms, boot, previous_sum;
  uint8_t payload[RECORD_BYTES - 48];
  uint64_t sum; /* over everything before it */
} record;

/* What HTTP reports; `state_lock` keeps (seq, sum) a pair. `write_lock` is held while a record goes to disk. */
static struct {
  uint64_t seq, sum, boot, verified, errors, previous_at_ms, previous_sum;
  int verifying, paused, full, interval_ms;
} state = {.verifying = 1, .interval_ms = DEFAULT_INTERVAL_MS};
static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER, write_lock = PTHREAD_MUTEX_INITIALIZER;
static int disk;
static uint64_t ledger_records, fill_offset, fill_bytes;

static uint64_t checksum(const void *bytes, size_t length) {
  const uint64_t *words = bytes;
  uint64_t h = 0x9E3779B97F4A7C15ull;
  for (size_t i = 0; i < length / 8; i++) {
    h ^= words[i];
    h *= 0xff51afd7ed558ccdull;
    h ^= h >> 32;
  }
  return h;
}

/* splitmix64: any part of the stream can be made from the seed and the position alone. */
static void pseudo_random(void *bytes, size_t length, uint64_t seed, uint64_t position) {
  uint64_t *words = bytes;
  uint64_t x = seed * 0xD1342543DE82EF95ull + (position / 8) * 0x9E3779B97F4A7C15ull;
  for (size_t i = 0; i < length / 8; i++) {
    uint64_t z = (x += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    words[i] = z ^ (z >> 31);
  }
}

static uint64_t clock_ms(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void *aligned(size_t length) {
  void *memory = NULL;
  if (posix_memalign(&memory, RECORD_BYTES, length)) abort();
  return memory;
}

static int intact(const record *r, uint64_t seq, uint64_t previous_sum) {
  return !memcmp(r->magic, MAGIC, 8) && r->seq == seq && r->previous_sum == previous_sum &&
         r->sum == checksum(r, RECORD_BYTES - 8);
}

/* ---------------------------------------------------------------- at boot */

/* Verifies the chain from record 0; anything that looks like a record beyond its end is an error (torn or lost). */
static void verify_chain(void) {
  const uint64_t per_chunk = CHUNK_BYTES / RECORD_BYTES;
  record *chunk = aligned(CHUNK_BYTES);
  uint64_t seq = 0, sum = 0, at_ms = 0, boot = 0, broken = 0, ended = 0;
  for (uint64_t first = 0; first < ledger_records && !ended; first += per_chunk) {
    ssize_t got = pread(disk, chunk, CHUNK_BYTES, (off_t)(first * RECORD_BYTES));
    for (ssize_t i = 0; i < got / RECORD_BYTES && first + (uint64_t)i < ledger_records; i++) {
      record *r = &chunk[i];
      if (!ended && intact(r, seq, sum)) {
        sum = r->sum, at_ms = r->at_ms, boot = r->boot, seq++;
      } else {
        ended = 1;
        broken += !memcmp(r->magic, MAGIC, 8);
      }
    }
    if (got <= 0) break;
  }
  free(chunk);
  pthread_mutex_lock(&state_lock);
  state.seq = state.verified = seq;
  state.sum = state.previous_sum = sum;
  state.previous_at_ms = at_ms;
  state.boot = boot + 1;
  state.errors += broken;
  state.verifying = 0;
  pthread_mutex_unlock(&state_lock);
  printf("ledger: %llu records verified, %llu broken\n", (u64)seq, (u64)broken);
  fflush(stdout);
}

/* ---------------------------------------------------------------- appending */

/* Appends one record; an error leaves seq as it is, so the same slot is tried again. */
static int append(record *r) {
  memcpy(r->magic, MAGIC, 8);
  r->seq = state.seq;
  r->at_ms = clock_ms(CLOCK_REALTIME);
  r->boot = state.boot;
  r->previous_sum = state.sum;
  pseudo_random(r->payload, sizeof r->payload, r->boot, r->seq * RECORD_BYTES);
  r->sum = checksum(r, RECORD_BYTES - 8);
  int ok = pwrite(disk, r, RECORD_BYTES, (off_t)(r->seq * RECORD_BYTES)) == RECORD_BYTES && !fdatasync(disk);
  pthread_mutex_lock(&state_lock);
  if (ok) {
    state.seq++;
    state.sum = r->sum;
  } else {
    state.errors++;
  }
  pthread_mutex_unlock(&state_lock);
  return ok;
}

static void append_forever(void) {
  record *r = aligned(RECORD_BYTES);
  for (;;) {
    int ok = 1;
    pthread_mutex_lock(&write_lock);
    state.full = state.seq >= ledger_records;
    int idle = state.paused || state.full;
    if (!idle) ok = append(r);
    pthread_mutex_unlock(&write_lock);
    if (idle) usleep(5000);
    else if (!ok) usleep(100000);
    else if (state.interval_ms > 0) usleep((useconds_t)state.interval_ms * 1000);
  }
}

/* ---------------------------------------------------------------- HTTP */

typedef struct {
  int status;
  char body[1024];
} answer;

static void state_json(answer *a) {
  pthread_mutex_lock(&state_lock);
  snprintf(a->body, sizeof a->body,
           "{\"seq\":%llu,\"sum\":\"%016llx\",\"boot\":%llu,\"firstThisBoot\":%llu,\"verified\":%llu,"
           "\"errors\":%llu,\"now\":%llu,\"up\":%llu,\"interval\":%d,\"verifying\":%s,\"paused\":%s,\"full\":%s,"
           "\"previousSum\":\"%016llx\",\"previousAt\":%llu,\"capacity\":%llu,\"fillBytes\":%llu}\n",
           (u64)state.seq, (u64)state.sum, (u64)state.boot, (u64)state.verified, (u64)state.verified,
           (u64)state.errors, (u64)clock_ms(CLOCK_REALTIME), (u64)clock_ms(CLOCK_BOOTTIME), state.interval_ms,
           state.verifying ? "true" : "false", state.paused ? "true" : "false", state.full ? "true" : "false",
           (u64)state.previous_sum, (u64)state.previous_at_ms, (u64)ledger_records, (u64)fill_bytes);
  pthread_mutex_unlock(&state_lock);
}

static void record_json(answer *a, uint64_t seq) {
  record *r = aligned(RECORD_BYTES);
  ssize_t got = seq < ledger_records ? pread(disk, r, RECORD_BYTES, (off_t)(seq * RECORD_BYTES)) : 0;
  int sound = got == RECORD_BYTES && intact(r, seq, r->previous_sum);
  a->status = sound ? 200 : 404;
  if (sound)
    snprintf(a->body, sizeof a->body, "{\"seq\":%llu,\"at\":%llu,\"boot\":%llu,\"previousSum\":\"%016llx\",\"sum\":\"%016llx\"}\n",
             (u64)r->seq, (u64)r->at_ms, (u64)r->boot, (u64)r->previous_sum, (u64)r->sum);
  else
    snprintf(a->body, sizeof a->body, "{\"error\":\"no intact record %llu\"}\n", (u64)seq);
  free(r);
}

/* Writes (or, with `check`, reads and compares) the stream in the fill area; reports how many MiB were right. */
static void fill(answer *a, uint64_t mib, uint64_t seed, int check) {
  if (mib > fill_bytes / CHUNK_BYTES) {
    a->status = 400;
    snprintf(a->body, sizeof a->body, "{\"error\":\"the fill area has %llu MiB\"}\n", (u64)(fill_bytes / CHUNK_BYTES));
    return;
  }
  uint8_t *made = aligned(CHUNK_BYTES), *found = aligned(CHUNK_BYTES);
  uint64_t right = 0;
  for (uint64_t i = 0; i < mib; i++) {
    off_t at = (off_t)(fill_offset + i * CHUNK_BYTES);
    pseudo_random(made, CHUNK_BYTES, seed, i * CHUNK_BYTES);
    if (check) right += pread(disk, found, CHUNK_BYTES, at) == CHUNK_BYTES && !memcmp(made, found, CHUNK_BYTES);
    else right += pwrite(disk, made, CHUNK_BYTES, at) == CHUNK_BYTES;
  }
  int synced = check || !fdatasync(disk);
  free(made);
  free(found);
  a->status = right == mib && synced ? 200 : 500;
  snprintf(a->body, sizeof a->body, "{\"mib\":%llu,\"right\":%llu,\"seed\":%llu,\"synced\":%s}\n", (u64)mib, (u64)right,
           (u64)seed, synced ? "true" : "false");
}

static void route(const char *path, answer *a) {
  u64 first, second;
  a->status = 200;
  if (sscanf(path, "/fill/%llu/%llu", &first, &second) == 2) return fill(a, first, second, 0);
  if (sscanf(path, "/check/%llu/%llu", &first, &second) == 2) return fill(a, first, second, 1);
  if (sscanf(path, "/record/%llu", &first) == 1) return record_json(a, first);
  if (!strncmp(path, "/pause", 6) || !strncmp(path, "/resume", 7)) {
    pthread_mutex_lock(&write_lock); /* waits for the record that is on its way */
    state.paused = path[1] == 'p';
    pthread_mutex_unlock(&write_lock);
  } else if (sscanf(path, "/rate/%llu", &first) == 1) {
    state.interval_ms = first > 60000 ? 60000 : (int)first;
  } else if (strncmp(path, "/ ", 2) && strncmp(path, "/state", 6)) {
    a->status = 404;
    snprintf(a->body, sizeof a->body, "{\"error\":\"no such path\"}\n");
    return;
  }
  state_json(a);
}

static void *serve_one(void *argument) {
  int connection = (int)(intptr_t)argument;
  struct timeval limit = {.tv_sec = 5};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  char request[4096];
  size_t length = 0;
  ssize_t got;
  while (length < sizeof request - 1 && (got = read(connection, request + length, sizeof request - 1 - length)) > 0) {
    length += (size_t)got;
    request[length] = 0;
    if (strstr(request, "\r\n\r\n")) break;
  }
  request[length] = 0;
  const char *path = strchr(request, ' ');
  if (path) {
    answer a;
    route(path + 1, &a);
    dprintf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
            a.status, a.status == 200 ? "OK" : "Error", strlen(a.body), a.body);
  }
  shutdown(connection, SHUT_WR);
  close(connection);
  return NULL;
}

static void *serve(void *unused) {
  (void)unused;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 64)) {
    perror("ledger: listen");
    exit(1);
  }
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    pthread_t thread;
    if (connection < 0) continue;
    if (pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)connection)) close(connection);
    else pthread_detach(thread);
  }
  return NULL;
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  signal(SIGPIPE, SIG_IGN);
  disk = open(arguments[1], O_RDWR | O_DIRECT | O_CLOEXEC);
  if (disk < 0) {
    perror(arguments[1]);
    return 1;
  }
  uint64_t size = 0;
  if (ioctl(disk, BLKGETSIZE64, &size)) size = (uint64_t)lseek(disk, 0, SEEK_END);
  fill_offset = size / 2 / CHUNK_BYTES * CHUNK_BYTES;
  fill_bytes = size - fill_offset;
  ledger_records = fill_offset / RECORD_BYTES;
  pthread_t thread;
  if (pthread_create(&thread, NULL, serve, NULL)) return 1;
  verify_chain();
  append_forever();
}
