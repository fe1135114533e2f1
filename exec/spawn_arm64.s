#include "textflag.h"

// The list and the progress are in R9 and R10, which system calls leave alone.
#define SYSTEM_CALL \
	MOVD	0(R9), R8; \
	MOVD	8(R9), R0; \
	MOVD	16(R9), R1; \
	MOVD	24(R9), R2; \
	MOVD	32(R9), R3; \
	MOVD	40(R9), R4; \
	SVC

// func spawn(first *call, report *progress) (pid int)
TEXT ·spawn(SB),NOSPLIT,$0-24
	MOVD	first+0(FP), R9
	MOVD	report+8(FP), R10
	SYSTEM_CALL
	CBZ	R0, child
	MOVD	R0, pid+16(FP)
	RET
child:
	ADD	$48, R9
	MOVD	R9, 16(R10)		// progress.current
	SYSTEM_CALL
	CMN	$4095, R0
	BCS	failed			// unsigned: an errno
	MOVD	0(R9), R1
	CMP	$435, R1		// clone3
	BNE	child
	CBZ	R0, child
	B	exit
failed:
	NEG	R0, R0
	MOVD	R0, 8(R10)		// progress.errno
	MOVD	0(R9), R0
	MOVD	R0, 0(R10)		// progress.failed
exit:
	MOVD	$127, R0
	MOVD	$94, R8			// exit_group
	SVC
	B	exit
