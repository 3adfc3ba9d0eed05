"""`videocredits demo`: the day of an app that sells AI-generated videos, played through HTTP and checked."""
