/* SPDX-License-Identifier: MIT */
/*
 * Prints what demi doctor found, for a person, as JSON, or as arguments of docker and podman.
 */
#ifndef TOOLS_DOCTOR_PRINT_H
#define TOOLS_DOCTOR_PRINT_H

#include "doctor.h"

/* "CAP_NET_RAW" of a number; "" of one that no check knows. */
const char *doctor_capability_name(int capability);

/* All return an exit code. */
int doctor_print_text(const struct doctor_machine *m, const struct doctor_report reports[],
                      size_t n);
int doctor_print_json(const struct doctor_machine *m, const struct doctor_report reports[],
                      size_t n);
int doctor_print_container(const struct doctor_report reports[], size_t n);

#endif /* TOOLS_DOCTOR_PRINT_H */
