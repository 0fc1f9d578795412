/* Runs one instruction with a given state and tells the state behind it: x86 and x64, user mode.
 * Reads cases on standard input and writes results on standard output, each one `struct state`.
 * Layout and addresses are those of host.py. */
#include <signal.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DATA ((unsigned char *)0x10000000)
#define STACK ((unsigned char *)0x10010000)
#define CODE ((unsigned char *)0x10020000)
#define MEMORY 512

struct state {
    uint64_t general[16];
    uint64_t flags, fault, exit;
    uint8_t legacy[512];   /* FXSAVE */
    uint8_t upper[16][16]; /* high halves of YMM */
    uint8_t data[MEMORY], stack[MEMORY], code[128];
};
static struct state in, out;
static uintptr_t kept;
static jmp_buf back;
static uint8_t area[512] __attribute__((aligned(64)));
static uint8_t ymm[16][32] __attribute__((aligned(64)));

#if __x86_64__
#define COUNT 16
#define EACH(X) X(rax,0) X(rcx,1) X(rdx,2) X(rbx,3) X(rsp,4) X(rbp,5) X(rsi,6) X(rdi,7) \
    X(r8,8) X(r9,9) X(r10,10) X(r11,11) X(r12,12) X(r13,13) X(r14,14) X(r15,15)
#define VECTORS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define A(NAME, OFFSET) #NAME "+" #OFFSET "(%rip)"
#define PUSHF "pushfq\n pop %rax\n"
#define POPF "pushq " A(given, 128) "\n popfq\n"
#define SAVE "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n mov %rsp," A(kept_sp, 0) "\n"
#define REST "mov " A(kept_sp, 0) ",%rsp\n"
#define POPS "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"
#define FIX "mov %rax," A(got, 128) "\n"
#define LOAD(R, N) "mov given+8*" #N "(%rip),%" #R "\n"
#define KEEP(R, N) "mov %" #R ",got+8*" #N "(%rip)\n"
#define YLOAD(N) "vmovups vectors+32*" #N "(%rip),%ymm" #N "\n"
#define YKEEP(N) "vmovups %ymm" #N ",vectors+32*" #N "(%rip)\n"
#else
#define COUNT 8
#define EACH(X) X(eax,0) X(ecx,1) X(edx,2) X(ebx,3) X(esp,4) X(ebp,5) X(esi,6) X(edi,7)
#define VECTORS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define A(NAME, OFFSET) #NAME "+" #OFFSET
#define PUSHF "pushf\n pop %eax\n"
#define POPF "push " A(given, 128) "\n popf\n"
#define SAVE "push %ebx\n push %ebp\n push %esi\n push %edi\n mov %esp," A(kept_sp, 0) "\n"
#define REST "mov " A(kept_sp, 0) ",%esp\n"
#define POPS "pop %edi\n pop %esi\n pop %ebp\n pop %ebx\n ret\n"
#define FIX "mov %eax," A(got, 128) "\n"
#define LOAD(R, N) "mov given+8*" #N ",%" #R "\n"
#define KEEP(R, N) "mov %" #R ",got+8*" #N "\n"
#define YLOAD(N) "vmovups vectors+32*" #N ",%ymm" #N "\n"
#define YKEEP(N) "vmovups %ymm" #N ",vectors+32*" #N "\n"
#endif
#define V_LOAD(N) YLOAD(N)
#define V_KEEP(N) YKEEP(N)

uint64_t given[17], got[17];
uint8_t vectors[16][32] __attribute__((aligned(64)));
uint8_t fx_in[512] __attribute__((aligned(64))), fx_out[512] __attribute__((aligned(64)));
uintptr_t kept_sp, target = (uintptr_t)CODE, which;
extern void enter(void), leave0(void), leave1(void);

__asm__(".globl enter\nenter:\n" SAVE
        "fxrstor " A(fx_in, 0) "\n" VECTORS(V_LOAD) POPF EACH(LOAD) "jmp *" A(target, 0) "\n"
        ".globl leave1\nleave1:\n movl $1," A(which, 0) "\n jmp 1f\n"
        ".globl leave0\nleave0:\n movl $0," A(which, 0) "\n 1:\n" EACH(KEEP) REST PUSHF FIX
        "cld\n" VECTORS(V_KEEP) "fxsave " A(fx_out, 0) "\n fninit\n vzeroupper\n" POPS);

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)info; (void)context;
    siglongjmp(back, number);
}

static void jump(unsigned char *at, void (*to)(void))
{
#if __x86_64__
    static const unsigned char through[] = {0xFF, 0x25, 0, 0, 0, 0}; /* jmp [rip] */
    memcpy(at, through, 6); memcpy(at + 6, &to, 8);
#else
    int32_t by = (int32_t)((uintptr_t)to - (uintptr_t)(at + 5));
    *at = 0xE9; memcpy(at + 1, &by, 4);
#endif
}

static void one(void)
{
    memcpy(DATA, in.data, MEMORY); memcpy(STACK, in.stack, MEMORY);
    memset(CODE, 0xCC, 256); memcpy(CODE, in.code + 1, in.code[0]);
    jump(CODE + in.code[0], leave0); jump(CODE + 128, leave1);
    memcpy(given, in.general, sizeof in.general); given[16] = in.flags;
    memcpy(fx_in, in.legacy, 512);
    for (int i = 0; i < COUNT; i++) { memcpy(vectors[i], in.legacy + 160 + 16 * i, 16); memcpy(vectors[i] + 16, in.upper[i], 16); }
    out = in;
    int fault = sigsetjmp(back, 1);
    ualarm(fault ? 0 : 200000, 0);
    if (!fault) enter();
    else __asm__ volatile("fninit\n cld\n vzeroupper");
    out.fault = (uint64_t)fault;
    if (fault) return;
    memcpy(out.general, got, sizeof in.general); out.flags = got[16]; out.exit = which;
    memcpy(out.legacy, fx_out, 512);
    for (int i = 0; i < COUNT; i++) { memcpy(out.legacy + 160 + 16 * i, vectors[i], 16); memcpy(out.upper[i], vectors[i] + 16, 16); }
    memcpy(out.data, DATA, MEMORY); memcpy(out.stack, STACK, MEMORY);
}

int main(void)
{
    static unsigned char other[65536];
    stack_t alternate = {.ss_sp = other, .ss_size = sizeof other};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    static const int caught[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGALRM};
    int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    sigaltstack(&alternate, 0);
    for (unsigned i = 0; i < sizeof caught / sizeof *caught; i++) sigaction(caught[i], &action, 0);
    mmap(DATA, 0x2000, PROT_READ | PROT_WRITE, fixed, -1, 0);
    mmap(STACK, 0x2000, PROT_READ | PROT_WRITE, fixed, -1, 0);
    mmap(CODE, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC, fixed, -1, 0);
    while (fread(&in, sizeof in, 1, stdin) == 1) { one(); fwrite(&out, sizeof out, 1, stdout); fflush(stdout); }
    return 0;
}
