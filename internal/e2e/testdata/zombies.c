/*
 * zombies N: starts N grandchildren whose parents die at once, so that they
 * are adopted by the container's first process; each exits at once too. With a
 * first process that reaps, none of them is left after a while.
 *
 * Prints how many of its kind that it can see in /proc are zombies after one
 * second.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static int zombies(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int count = 0;

	if (!proc)
		return -1;
	while ((entry = readdir(proc))) {
		char path[300], stat[512], *name, *state;
		FILE *file;
		size_t n;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		n = fread(stat, 1, sizeof stat - 1, file);
		fclose(file);
		stat[n] = 0;
		/* Others' zombies are seen too where there is no PID namespace. */
		name = strstr(stat, "(zombies)");
		state = strrchr(stat, ')');
		if (name && state && state[1] && state[2] == 'Z')
			count++;
	}
	closedir(proc);
	return count;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 8;
	int i;

	for (i = 0; i < n; i++) {
		pid_t child = fork();

		if (child < 0) {
			perror("fork");
			return 1;
		}
		if (child == 0) {
			if (fork() == 0) {
				usleep(100000); /* outlive the parent */
				_exit(7);
			}
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	sleep(1);
	printf("zombies left: %d\n", zombies());
	return 0;
}
