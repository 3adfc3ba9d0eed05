// Every result of every mutation, handled to the end by a switch. A member that is added to one does not typecheck.

import {
  type AdjustUserCreditsMutation,
  assertNever,
  type CancelVideoDataMutation,
  type CreateVideoDataMutation,
  type RegisterUserMutation,
  type RestoreVideoDataMutation,
  type RetryVideoDataMutation,
  type TrashVideoDataMutation,
  type UpdateVideoDataMutation,
  type UpdateVideoRecordStatusMutation,
} from '@videocredits/client'

type Result =
  | AdjustUserCreditsMutation['adjustUserCredits']
  | CancelVideoDataMutation['cancelVideoData']
  | CreateVideoDataMutation['createVideoData']
  | RegisterUserMutation['registerUser']
  | RestoreVideoDataMutation['restoreVideoData']
  | RetryVideoDataMutation['retryVideoData']
  | TrashVideoDataMutation['trashVideoData']
  | UpdateVideoDataMutation['updateVideoData']
  | UpdateVideoRecordStatusMutation['updateVideoRecordStatus']

/** What to tell the user of any result. */
export function telling(result: Result): string {
  switch (result.__typename) {
    case 'CreateVideoDataSuccess':
    case 'RetryVideoDataSuccess':
    case 'CancelVideoDataSuccess':
      return `You have ${result.user.credits} credits now.`
    case 'AdjustUserCreditsSuccess':
    case 'UpdateVideoRecordStatusSuccess':
      return `The user has ${result.user.credits} credits now.`
    case 'RegisterUserSuccess':
      return result.replayed ? 'Welcome back.' : `Welcome: ${result.entry?.amount ?? 0} credits are yours.`
    case 'UpdateVideoDataSuccess':
      return 'Saved.'
    case 'TrashVideoDataSuccess':
      return `${result.videoData.title} is in the trash.`
    case 'RestoreVideoDataSuccess':
      return `${result.videoData.title} is back.`
    case 'InsufficientCredits':
      return `It takes ${result.required} credits, and you have ${result.balance}.`
    case 'QuotaExceeded':
      return result.quota === 'STORAGE_BYTES'
        ? 'Your videos hold as much as they may: shorten some of them.'
        : `You have begun ${result.used} videos today: more from ${result.resetsAt ?? 'tomorrow'} on.`
    case 'CreditsOutOfRange':
      return `An account holds 0 to ${result.maximum} credits; this one has ${result.balance}.`
    case 'IllegalTransition':
      return `The video is ${result.currentStatus} by now: ${result.videoData.renderProgress} percent.`
    case 'StaleAttempt':
      return `The video is in attempt ${result.currentAttempt} by now.`
    case 'ContradictoryReport':
      return `The video is ${result.videoData.status}, and was reported otherwise.`
    case 'VersionConflict':
      return `Somebody saved version ${result.currentVersion}; you changed version ${result.expectedVersion}.`
    case 'IdempotencyKeyReused':
      return 'The request before this one had been done after all.'
    case 'UserNotFound':
    case 'VideoDataNotFound':
      return 'It is not there any more.'
    case 'OperationRefused':
      return result.message
    default:
      return assertNever(result)
  }
}
