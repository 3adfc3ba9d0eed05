-- An editor's save conflicts with other saves only, and not with the reports that raise a video's version meanwhile.
ALTER TABLE video_data ADD COLUMN saved_version bigint NOT NULL DEFAULT 1; -- the version that the newest save made; 1: none yet
