"""The settings: one table (`settings`), one loader (`load`), and what is generated from them (`reference`)."""
