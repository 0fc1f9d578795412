/* Runs one ARM64 instruction with a given state and tells the state behind it, in user mode.
 * Reads cases on standard input and writes results on standard output, each one `struct state`.
 * x28 belongs to the harness. Layout and addresses are those of arm.py. */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define DATA ((unsigned char *)0x10000000)
#define CODE ((unsigned char *)0x02000000)
#define MEMORY 1024

struct state {
    uint64_t general[31], sp, flags, fault, exit;
    uint8_t vectors[32][16];
    uint64_t control, status;
    uint8_t data[MEMORY];
    uint32_t code[4];
};
struct state in, out;
static sigjmp_buf back;
uint64_t kept_sp;
extern void enter(void), leave0(void), leave1(void);

__asm__(
    ".globl enter\nenter:\n"
    "stp x29,x30,[sp,#-96]!\n stp x19,x20,[sp,#16]\n stp x21,x22,[sp,#32]\n stp x23,x24,[sp,#48]\n"
    "stp x25,x26,[sp,#64]\n stp x27,x28,[sp,#80]\n"
    "adrp x0,kept_sp\n add x0,x0,:lo12:kept_sp\n mov x1,sp\n str x1,[x0]\n"
    "adrp x28,in\n add x28,x28,:lo12:in\n add x9,x28,#280\n"
    "ld1 {v0.16b-v3.16b},[x9],#64\n ld1 {v4.16b-v7.16b},[x9],#64\n ld1 {v8.16b-v11.16b},[x9],#64\n ld1 {v12.16b-v15.16b},[x9],#64\n"
    "ld1 {v16.16b-v19.16b},[x9],#64\n ld1 {v20.16b-v23.16b},[x9],#64\n ld1 {v24.16b-v27.16b},[x9],#64\n ld1 {v28.16b-v31.16b},[x9],#64\n"
    "ldp x0,x1,[x9]\n msr fpcr,x0\n msr fpsr,x1\n"
    "ldr x0,[x28,#256]\n msr nzcv,x0\n ldr x0,[x28,#248]\n mov sp,x0\n"
    "ldp x0,x1,[x28]\n ldp x2,x3,[x28,#16]\n ldp x4,x5,[x28,#32]\n ldp x6,x7,[x28,#48]\n ldp x8,x9,[x28,#64]\n"
    "ldp x10,x11,[x28,#80]\n ldp x12,x13,[x28,#96]\n ldp x14,x15,[x28,#112]\n ldp x16,x17,[x28,#128]\n ldp x18,x19,[x28,#144]\n"
    "ldp x20,x21,[x28,#160]\n ldp x22,x23,[x28,#176]\n ldp x24,x25,[x28,#192]\n ldp x26,x27,[x28,#208]\n ldp x29,x30,[x28,#232]\n"
    "movz x28,#0x0200,lsl #16\n br x28\n"
    ".globl leave1\nleave1:\n adrp x28,out\n add x28,x28,:lo12:out\n str x0,[x28]\n mov x0,#1\n b 1f\n"
    ".globl leave0\nleave0:\n adrp x28,out\n add x28,x28,:lo12:out\n str x0,[x28]\n mov x0,#0\n"
    "1: str x0,[x28,#272]\n str x1,[x28,#8]\n stp x2,x3,[x28,#16]\n stp x4,x5,[x28,#32]\n stp x6,x7,[x28,#48]\n stp x8,x9,[x28,#64]\n"
    "stp x10,x11,[x28,#80]\n stp x12,x13,[x28,#96]\n stp x14,x15,[x28,#112]\n stp x16,x17,[x28,#128]\n stp x18,x19,[x28,#144]\n"
    "stp x20,x21,[x28,#160]\n stp x22,x23,[x28,#176]\n stp x24,x25,[x28,#192]\n stp x26,x27,[x28,#208]\n stp x29,x30,[x28,#232]\n"
    "mov x0,sp\n str x0,[x28,#248]\n mrs x0,nzcv\n str x0,[x28,#256]\n add x9,x28,#280\n"
    "st1 {v0.16b-v3.16b},[x9],#64\n st1 {v4.16b-v7.16b},[x9],#64\n st1 {v8.16b-v11.16b},[x9],#64\n st1 {v12.16b-v15.16b},[x9],#64\n"
    "st1 {v16.16b-v19.16b},[x9],#64\n st1 {v20.16b-v23.16b},[x9],#64\n st1 {v24.16b-v27.16b},[x9],#64\n st1 {v28.16b-v31.16b},[x9],#64\n"
    "mrs x0,fpcr\n mrs x1,fpsr\n stp x0,x1,[x9]\n msr fpcr,xzr\n"
    "adrp x0,kept_sp\n add x0,x0,:lo12:kept_sp\n ldr x1,[x0]\n mov sp,x1\n"
    "ldp x19,x20,[sp,#16]\n ldp x21,x22,[sp,#32]\n ldp x23,x24,[sp,#48]\n ldp x25,x26,[sp,#64]\n ldp x27,x28,[sp,#80]\n"
    "ldp x29,x30,[sp],#96\n ret\n");

static void on_signal(int number) { siglongjmp(back, number); }

static void jump(unsigned char *at, void (*to)(void))
{
    uint32_t word = 0x14000000u | ((uint32_t)(((int64_t)(uintptr_t)to - (int64_t)(uintptr_t)at) >> 2) & 0x3FFFFFFu);
    memcpy(at, &word, 4);
}

static void one(void)
{
    memcpy(DATA, in.data, MEMORY);
    memcpy(CODE, in.code, 4);
    jump(CODE + 4, leave0); jump(CODE + 64, leave1);
    __builtin___clear_cache((char *)CODE, (char *)CODE + 128);
    out = in;
    int fault = sigsetjmp(back, 1);
    if (!fault) enter();
    out.fault = (uint64_t)fault;
    out.general[28] = in.general[28];
    memcpy(out.data, DATA, MEMORY);
}

int main(void)
{
    static unsigned char other[65536];
    stack_t alternate = {.ss_sp = other, .ss_size = sizeof other};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_NODEFER};
    static const int caught[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP};
    int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    sigaltstack(&alternate, 0);
    for (unsigned i = 0; i < sizeof caught / sizeof *caught; i++) sigaction(caught[i], &action, 0);
    mmap(DATA, 0x2000, PROT_READ | PROT_WRITE, fixed, -1, 0);
    mmap(CODE, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC, fixed, -1, 0);
    while (fread(&in, sizeof in, 1, stdin) == 1) { one(); fwrite(&out, sizeof out, 1, stdout); fflush(stdout); }
    return 0;
}
