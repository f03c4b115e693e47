// Fibers: stacks and a switch between them in a few nanoseconds, in place of ucontext, which calls the
// kernel; and the handler that turns a fault inside a kernel into a failed launch.
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "runtime.h"

// Saves what a called function must keep, exchanges stacks, and restores.
#if defined(__x86_64__)
asm(R"(
.text
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch, . - emulator_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch, %function
emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size emulator_switch, . - emulator_switch
)");
#else
#error "the emulator's fibers are written for x86-64 and aarch64"
#endif

namespace emulator {

namespace {

constexpr size_t stack_bytes = 128 * 1024;
constexpr size_t guard_bytes = 4096;

unsigned char* stacks = nullptr;
unsigned stack_count = 0;

pthread_t kernel_thread;
volatile bool in_kernel = false;
struct sigaction previous_segv, previous_bus, previous_fpe;
uintptr_t fault_address, fault_pc;
int fault_signal;
// A fiber that overflowed its stack has none left to report on.
alignas(64) unsigned char fault_stack[256 * 1024];

// Runs on `fault_stack` in place of the fiber that faulted.
void report_fault() {
    uintptr_t address = fault_address;
    uintptr_t first = reinterpret_cast<uintptr_t>(stacks);
    std::string line = source_line(reinterpret_cast<const void*>(fault_pc + 1));
    if (fault_signal == SIGFPE) {
        fail_launch(launch_failed, "integer division by zero%s", line.c_str());
    } else if (address - first < stack_count * stack_bytes) {
        fail_launch(launch_failed, "a thread's local variables need more than %zu KiB of stack", stack_bytes / 1024);
    } else if (is_device_address(address)) {
        const Allocation* near = nullptr;
        for (const Allocation* allocation : live_allocations())
            if (allocation->address <= address && (!near || allocation->address > near->address)) near = allocation;
        if (near)
            fail_launch(illegal_address,
                        "illegal access to device memory, %llu bytes after the start of an allocation of %llu bytes%s",
                        static_cast<unsigned long long>(address - near->address),
                        static_cast<unsigned long long>(near->bytes), line.c_str());
        else
            fail_launch(illegal_address, "illegal access to device memory where nothing is allocated%s", line.c_str());
    } else {
        fail_launch(illegal_address, "illegal or misaligned access, address %p%s", reinterpret_cast<void*>(address),
                    line.c_str());
    }
    abandon();
}

void handle_fault(int signal, siginfo_t* info, void* context) {
    if (in_kernel && pthread_equal(pthread_self(), kernel_thread)) {
        fault_address = reinterpret_cast<uintptr_t>(info->si_addr);
        fault_signal = signal;
        ucontext_t* machine = static_cast<ucontext_t*>(context);
        uintptr_t top = reinterpret_cast<uintptr_t>(fault_stack + sizeof fault_stack) & ~uintptr_t{63};
#if defined(__x86_64__)
        fault_pc = static_cast<uintptr_t>(machine->uc_mcontext.gregs[REG_RIP]);
        machine->uc_mcontext.gregs[REG_RSP] = static_cast<greg_t>(top - 8);
        machine->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<uintptr_t>(&report_fault));
#else
        fault_pc = machine->uc_mcontext.pc;
        machine->uc_mcontext.sp = top;
        machine->uc_mcontext.pc = reinterpret_cast<uintptr_t>(&report_fault);
#endif
        return;
    }
    const struct sigaction& previous = signal == SIGSEGV  ? previous_segv
                                       : signal == SIGBUS ? previous_bus
                                                          : previous_fpe;
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
        // The instruction faults again and the process ends as it would have.
        sigaction(signal, &previous, nullptr);
    } else {
        previous.sa_handler(signal);
    }
}

}  // namespace

void* prepare_stack(void* top, void (*entry)()) {
    void** stack = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t{15});
#if defined(__x86_64__)
    *--stack = nullptr;  // where a call would have put the return address
    *--stack = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; i++) *--stack = nullptr;
#else
    stack -= 20;
    memset(stack, 0, 160);
    stack[11] = reinterpret_cast<void*>(entry);  // x30
#endif
    return stack;
}

void reserve_stacks(unsigned count) {
    if (count <= stack_count) return;
    count = count <= 256 ? 256 : 1024;
    if (stacks) munmap(stacks, stack_count * stack_bytes);
    void* memory =
        mmap(nullptr, count * stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) abort();
    stacks = static_cast<unsigned char*>(memory);
    stack_count = count;
    for (unsigned i = 0; i < count; i++) mprotect(stacks + i * stack_bytes, guard_bytes, PROT_NONE);
}

void* stack_top(unsigned index) {
    // Stacks start at different offsets in their pages, or all of them would share the same cache lines.
    return stacks + (index + 1) * stack_bytes - index * 192 % 4096;
}

void install_fault_handler() {
    static bool installed = false;
    if (installed) return;
    installed = true;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handle_fault;
    // Not blocked while the handler runs: it ends in another context, not by returning to this one.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
    sigaction(SIGFPE, &action, &previous_fpe);
}

void enter_kernel() {
    // The handler needs a stack of its own: a fiber that overflowed has none. Rust gives its threads one.
    stack_t alternate;
    if (sigaltstack(nullptr, &alternate) == 0 && (alternate.ss_flags & SS_DISABLE)) {
        static thread_local unsigned char memory[64 * 1024];
        alternate.ss_sp = memory;
        alternate.ss_size = sizeof memory;
        alternate.ss_flags = 0;
        sigaltstack(&alternate, nullptr);
    }
    kernel_thread = pthread_self();
    in_kernel = true;
}

void leave_kernel() { in_kernel = false; }

}  // namespace emulator
