#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include <time.h>
#include <stdatomic.h>
static int n, spin; static int *out, *in; static atomic_long got; static atomic_int stop;
static long now(){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1000000000L+t.tv_nsec;}
static atomic_long last;
static void *reader(void*_){int e=epoll_create1(0);for(int i=0;i<n;i++){struct epoll_event v={EPOLLIN,{.fd=in[i]}};epoll_ctl(e,EPOLL_CTL_ADD,in[i],&v);}
 struct epoll_event ev[1024];char b[4096];while(!stop){int k=epoll_wait(e,ev,1024,spin?0:100);for(int i=0;i<k;i++){read(ev[i].data.fd,b,4096);long g=atomic_fetch_add(&got,1)+1;if(g%n==0)last=now();}}return 0;}
static int cmp(const void*a,const void*b){long x=*(long*)a,y=*(long*)b;return x<y?-1:x>y;}
int main(int c,char**v){n=atoi(v[1]);spin=atoi(v[2]);int R=atoi(v[3]);out=malloc(n*4);in=malloc(n*4);
 int l=socket(AF_INET,SOCK_STREAM,0);struct sockaddr_in a={.sin_family=AF_INET,.sin_addr.s_addr=htonl(0x7f000001)};socklen_t s=sizeof a;bind(l,(void*)&a,s);getsockname(l,(void*)&a,&s);listen(l,1024);
 for(int i=0;i<n;i++){in[i]=socket(AF_INET,SOCK_STREAM,0);connect(in[i],(void*)&a,s);out[i]=accept(l,0,0);int one=1;setsockopt(out[i],IPPROTO_TCP,TCP_NODELAY,&one,4);}
 pthread_t t;pthread_create(&t,0,reader,0);char m[60];memset(m,1,60);long *d=malloc(R*8);
 for(int r=0;r<R;r++){usleep(20000);last=0;long t0=now();for(int i=0;i<n;i++)send(out[i],m,60,MSG_NOSIGNAL);while(!last)usleep(50);d[r]=last-t0;}
 stop=1;qsort(d,R,8,cmp);printf("%d sockets, reader %s: last byte read after %ld us (median of %d), %.2f us each\n",n,spin?"spins":"sleeps",d[R/2]/1000,R,d[R/2]/1000.0/n);}
