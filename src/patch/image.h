/* SPDX-License-Identifier: MIT */
/* The runtime image (src/runtime), built into utap as bytes. It starts with struct wire_runtime. */
#ifndef PATCH_IMAGE_H
#define PATCH_IMAGE_H

extern const unsigned char patch_runtime_image[];
extern const unsigned long patch_runtime_image_size;

#endif
