/* SPDX-License-Identifier: MIT */
/* For scripts: intact save PID FILE; intact check PID FILE all|files; intact text PID. Says what is not as it was;
 * status 1 then. */
#include <stdlib.h>
#include <string.h>

#include "intact.h"

int main(int argc, char **argv)
{
	pid_t pid = argc > 2 ? atoi(argv[2]) : 0;
	struct intact state = { 0 };
	bool good = false;

	if (argc == 4 && !strcmp(argv[1], "save"))
		good = intact_take(pid, &state) && intact_save(&state, argv[3]);
	else if (argc == 5 && !strcmp(argv[1], "check"))
		good = intact_load(argv[3], &state) &&
		       intact_check(pid, &state, strcmp(argv[4], "all") ? INTACT_FILES : INTACT_ALL, stdout);
	else if (argc == 3 && !strcmp(argv[1], "text"))
		good = intact_text(pid, stdout) == 0;
	else
		fprintf(stderr, "usage: intact save PID FILE | check PID FILE all|files | text PID\n");
	intact_free(&state);
	return good ? 0 : 1;
}
