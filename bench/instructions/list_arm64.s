/* Instructions of newer architecture levels that compilers emit, for arm.py. */
.arch_extension crypto
.macro atomic name
 \name w1, w2, [x3]
 \name\()a w1, w2, [x3]
 \name\()l w1, w2, [x3]
 \name\()al w1, w2, [x3]
 \name x1, x2, [x3]
 \name\()al x1, x2, [x3]
 \name\()b w1, w2, [x3]
 \name\()alb w1, w2, [x3]
 \name\()h w1, w2, [x3]
 \name\()alh w1, w2, [x3]
.endm
 atomic ldadd
 atomic ldclr
 atomic ldeor
 atomic ldset
 atomic ldsmax
 atomic ldsmin
 atomic ldumax
 atomic ldumin
 atomic swp
 cas w1, w2, [x3]
 casa w1, w2, [x3]
 casl w1, w2, [x3]
 casal w1, w2, [x3]
 cas x1, x2, [x3]
 casal x1, x2, [x3]
 casb w1, w2, [x3]
 casalb w1, w2, [x3]
 cash w1, w2, [x3]
 casalh w1, w2, [x3]
 casp w0, w1, w2, w3, [x4]
 caspal w0, w1, w2, w3, [x4]
 casp x0, x1, x2, x3, [x4]
 caspa x0, x1, x2, x3, [x4]
 caspl x0, x1, x2, x3, [x4]
 caspal x0, x1, x2, x3, [x4]
 stadd w1, [x3]
 staddl x1, [x3]
 ldapr w1, [x3]
 ldapr x1, [x3]
 ldaprb w1, [x3]
 ldaprh w1, [x3]
 ldapur w1, [x3, #8]
 ldapur x1, [x3, #-8]
 ldapurb w1, [x3, #1]
 ldapurh w1, [x3, #2]
 ldapursb w1, [x3, #1]
 ldapursb x1, [x3, #1]
 ldapursh w1, [x3, #2]
 ldapursh x1, [x3, #2]
 ldapursw x1, [x3, #4]
 stlur w1, [x3, #8]
 stlur x1, [x3, #-8]
 stlurb w1, [x3, #1]
 stlurh w1, [x3, #2]
 ldlar w1, [x3]
 stllr w1, [x3]
 ldar w1, [x3]
 ldar x1, [x3]
 ldarb w1, [x3]
 ldarh w1, [x3]
 stlr w1, [x3]
 stlr x1, [x3]
 stlrb w1, [x3]
 stlrh w1, [x3]
 ldxr w1, [x3]
 ldaxr x1, [x3]
 ldxp x1, x2, [x3]
 stxr w0, x1, [x3]
 stlxr w0, w1, [x3]
 paciasp
 autiasp
 pacibsp
 autibsp
 pacia x1, x2
 autia x1, x2
 paciza x1
 pacda x1, x2
 xpaci x1
 xpaclri
 pacga x1, x2, x3
 retaa
 retab
 braa x1, x2
 blraaz x1
 ldraa x1, [x3, #8]
 bti
 bti c
 bti j
 bti jc
 hint #34
 csdb
 esb
 sb
 ssbb
 pssbb
 yield
 sev
 dgh
 isb
 dsb sy
 dmb ish
 dmb ishld
 clrex
 dc zva, x1
 dc cvac, x1
 dc civac, x1
 dc cvau, x1
 dc cvap, x1
 dc cvadp, x1
 ic ivau, x1
 prfm pldl1keep, [x3]
 mrs x1, ctr_el0
 mrs x1, dczid_el0
 mrs x1, tpidr_el0
 mrs x1, tpidrro_el0
 mrs x1, fpcr
 mrs x1, fpsr
 mrs x1, nzcv
 mrs x1, daif
 mrs x1, currentel
 mrs x1, spsel
 mrs x1, midr_el1
 mrs x1, mpidr_el1
 mrs x1, revidr_el1
 mrs x1, id_aa64pfr0_el1
 mrs x1, id_aa64pfr1_el1
 mrs x1, id_aa64isar0_el1
 mrs x1, id_aa64isar1_el1
 mrs x1, id_aa64isar2_el1
 mrs x1, id_aa64mmfr0_el1
 mrs x1, id_aa64mmfr1_el1
 mrs x1, id_aa64mmfr2_el1
 mrs x1, id_aa64dfr0_el1
 mrs x1, sctlr_el1
 mrs x1, tcr_el1
 mrs x1, ttbr0_el1
 mrs x1, ttbr1_el1
 mrs x1, vbar_el1
 mrs x1, mair_el1
 mrs x1, esr_el1
 mrs x1, far_el1
 mrs x1, elr_el1
 mrs x1, spsr_el1
 mrs x1, tpidr_el1
 mrs x1, par_el1
 mrs x1, cntfrq_el0
 mrs x1, cntkctl_el1
 mrs x1, pmcr_el0
 mrs x1, pmuserenr_el0
 mrs x1, pmccfiltr_el0
 mrs x1, oslsr_el1
 mrs x1, mdscr_el1
 mrs x1, dbgbcr0_el1
 mrs x1, pan
 mrs x1, uao
 mrs x1, dit
 mrs x1, ssbs
 msr pan, #1
 msr uao, #0
 msr dit, #1
 msr ssbs, #1
 msr daifset, #2
 msr daifclr, #2
 msr nzcv, x1
 msr fpcr, x1
 tlbi vmalle1
 tlbi vaae1, x1
 at s1e1r, x1
 cfinv
 rmif x1, #3, #5
 setf8 w1
 setf16 w1
 axflag
 xaflag
 crc32b w1, w2, w3
 crc32x w1, w2, x3
 crc32cb w1, w2, w3
 crc32cx w1, w2, x3
 aese v1.16b, v2.16b
 aesd v1.16b, v2.16b
 aesmc v1.16b, v2.16b
 aesimc v1.16b, v2.16b
 sha1c q1, s2, v3.4s
 sha1h s1, s2
 sha1su0 v1.4s, v2.4s, v3.4s
 sha256h q1, q2, v3.4s
 sha256su0 v1.4s, v2.4s
 pmull v1.1q, v2.1d, v3.1d
 pmull2 v1.1q, v2.2d, v3.2d
 sqrdmlah v1.4s, v2.4s, v3.4s
 frint32z s1, s2
 frint64x d1, d2
 fjcvtzs w1, d2
 fcadd v1.4s, v2.4s, v3.4s, #90
 fcmla v1.4s, v2.4s, v3.4s, #90
 mrs x1, s3_3_c2_c4_0
 udf #0
 brk #0xf003
 brk #0xf000
