// The least that a fan-out costs on this machine: W threads send 60 bytes to each of N sockets, another reads them all.
//   cc -O2 -pthread -o floor floor.c && ./floor N SPINS ROUNDS W
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
static int n, spins, writers, *out, *in;
static atomic_long got, last, turn;
static atomic_int stop;
static long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
static void *reader(void *none) {
  int set = epoll_create1(0);
  for (int i = 0; i < n; i++) { struct epoll_event e = {EPOLLIN, {.fd = in[i]}}; epoll_ctl(set, EPOLL_CTL_ADD, in[i], &e); }
  struct epoll_event events[1024]; char bytes[4096];
  while (!stop) {
    int k = epoll_wait(set, events, 1024, spins ? 0 : 100);
    for (int i = 0; i < k; i++) { if (read(events[i].data.fd, bytes, sizeof bytes) > 0 && (atomic_fetch_add(&got, 1) + 1) % n == 0) last = now(); }
  }
  return none;
}
static void share(int w) { char m[60]; memset(m, 1, 60); for (int i = w; i < n; i += writers) send(out[i], m, 60, MSG_NOSIGNAL); }
static void *writer(void *w) { long seen = 0; while (!stop) { if (turn > seen) { seen = turn; share((int)(long)w); } else usleep(20); } return w; }
static int cmp(const void *a, const void *b) { long x = *(long *)a, y = *(long *)b; return x < y ? -1 : x > y; }
int main(int c, char **v) {
  n = atoi(v[1]); spins = atoi(v[2]); int rounds = atoi(v[3]); writers = atoi(v[4]); out = malloc(n * 4); in = malloc(n * 4);
  int l = socket(AF_INET, SOCK_STREAM, 0); struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)}; socklen_t s = sizeof a;
  bind(l, (void *)&a, s); getsockname(l, (void *)&a, &s); listen(l, 1024);
  for (int i = 0; i < n; i++) { int one = 1; in[i] = socket(AF_INET, SOCK_STREAM, 0); connect(in[i], (void *)&a, s); out[i] = accept(l, 0, 0); setsockopt(out[i], IPPROTO_TCP, TCP_NODELAY, &one, 4); }
  pthread_t t; pthread_create(&t, 0, reader, 0);
  for (long w = 1; w < writers; w++) pthread_create(&t, 0, writer, (void *)w);
  long *took = malloc(rounds * sizeof(long));
  for (int r = 0; r < rounds; r++) { usleep(20000); last = 0; long t0 = now(); turn++; share(0); while (!last) usleep(50); took[r] = last - t0; }
  stop = 1; qsort(took, rounds, sizeof(long), cmp);
  printf("%d sockets, %d writer(s), reader %s: last read after %ld us (median of %d; fastest %ld)\n", n, writers, spins ? "spins" : "sleeps", took[rounds / 2] / 1000, rounds, took[0] / 1000);
}
