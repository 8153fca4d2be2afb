/*
 * pwrbtn: waits for the ACPI power button (KEY_POWER on any input device), then becomes the given command.
 * It stands in for acpid or systemd-logind.
 */
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { MOST_DEVICES = 8 };

static int is_press(int device) {
  struct input_event event;
  return read(device, &event, sizeof event) == sizeof event && event.type == EV_KEY && event.code == KEY_POWER &&
         event.value == 1;
}

int main(int count, char **arguments) {
  struct pollfd devices[MOST_DEVICES];
  nfds_t found = 0;
  char path[32];
  if (count < 2) return 2;
  for (int i = 0; i < MOST_DEVICES; i++) {
    snprintf(path, sizeof path, "/dev/input/event%d", i);
    int device = open(path, O_RDONLY | O_CLOEXEC);
    if (device >= 0) devices[found++] = (struct pollfd){.fd = device, .events = POLLIN};
  }
  for (;;) {
    poll(devices, found, -1);
    for (nfds_t i = 0; i < found; i++)
      if ((devices[i].revents & POLLIN) && is_press(devices[i].fd)) execv(arguments[1], arguments + 1);
  }
}
