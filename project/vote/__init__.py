"""An example: a vote whose page shows every vote as it comes, to everybody who has it open."""
