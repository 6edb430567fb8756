#include "patch/inside.h"
void patch_target_unplan(struct patch_target *target, struct patch_site *site) { (void)target; (void)site; }
