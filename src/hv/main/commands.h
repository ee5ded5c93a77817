/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The subcommands of domus-vm. argv[0] is the subcommand's name. They return the process's exit status. */

int command_run(int argc, char **argv);
int command_serve(int argc, char **argv);
int command_probe(int argc, char **argv);
int command_attend(int argc, char **argv);
