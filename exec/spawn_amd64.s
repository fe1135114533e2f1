#include "textflag.h"

// The list and the progress are in R12 and R13, which system calls leave alone.
#define SYSTEM_CALL \
	MOVQ	0(R12), AX; \
	MOVQ	8(R12), DI; \
	MOVQ	16(R12), SI; \
	MOVQ	24(R12), DX; \
	MOVQ	32(R12), R10; \
	MOVQ	40(R12), R8; \
	SYSCALL

// func spawn(first *call, report *progress) (pid int)
TEXT ·spawn(SB),NOSPLIT,$0-24
	MOVQ	first+0(FP), R12
	MOVQ	report+8(FP), R13
	SYSTEM_CALL
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, pid+16(FP)
	RET
child:
	ADDQ	$48, R12
	MOVQ	R12, 16(R13)		// progress.current
	SYSTEM_CALL
	CMPQ	AX, $-4095
	JCC	failed			// unsigned: an errno
	CMPQ	0(R12), $435		// clone3
	JNE	child
	TESTQ	AX, AX
	JZ	child
	JMP	exit
failed:
	NEGQ	AX
	MOVQ	AX, 8(R13)		// progress.errno
	MOVQ	0(R12), AX
	MOVQ	AX, 0(R13)		// progress.failed
exit:
	MOVQ	$127, DI
	MOVQ	$231, AX		// exit_group
	SYSCALL
	JMP	exit
