/* SPDX-License-Identifier: MIT */
/* The parts of random instructions, for isa_trials.c. */
#ifndef TESTS_ISA_OPERANDS_H
#define TESTS_ISA_OPERANDS_H

#include "isa_trials.h"

/* A place for an operand in memory and how to write it down: ModRM, SIB, displacement. */
struct trial_operand {
	unsigned rex; /* X and B */
	uint8_t bytes[6];
	size_t size;
	bool by_ip; /* the displacement is of the place itself, to be made relative when the length is known */
	uint64_t place;
};

/* Chance. */
unsigned trial_below(struct trial *t, unsigned limit);
bool trial_chance(struct trial *t, unsigned percent);

/* Where an instruction starts from: registers, flags and memory, and what it will find at an address. */
uint64_t *trial_reg(struct trial *t, unsigned number);
void trial_poke(struct trial *t, uint64_t addr, uint64_t value);
uint64_t trial_peek(struct trial *t, uint64_t addr);
uint64_t trial_data_place(struct trial *t, unsigned align);
void trial_random_state(struct trial *t);
unsigned trial_any_base(struct trial *t);

/* Its bytes; trial_put_operand() is told how many bytes of the instruction follow. */
void trial_put(struct trial *t, unsigned byte);
void trial_put_many(struct trial *t, uint64_t value, size_t size);
void trial_put_operand(struct trial *t, const struct trial_operand *o, size_t immediate);

/* Its operand; @field is the ModRM reg field. */
void trial_set_displacement(struct trial_operand *o, size_t at, int32_t value);
struct trial_operand trial_operand_by_ip(struct trial *t, unsigned field, uint64_t place);
struct trial_operand trial_operand_by_stack(struct trial *t, unsigned field, int32_t offset);
struct trial_operand trial_operand_by_base(struct trial *t, unsigned field, uint64_t place);
struct trial_operand trial_operand_in_memory(struct trial *t, unsigned field);
struct trial_operand trial_operand_in_register(struct trial *t, unsigned field, unsigned number);

#endif
